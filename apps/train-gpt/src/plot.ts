import type { TopLevelSpec } from 'vega-lite'
import type { MetricsRecord, StepRecord, ValidationRecord } from './metrics'

/** Colours of a chart: CSS colours, or custom properties of the page that the SVG is put into. */
export interface Theme {
  readonly ink: string
  readonly faint: string
  readonly background: string
  readonly series: readonly [string, string, string]
}

/** For an SVG that stands alone. */
export const paper: Theme = { ink: '#3b4252', faint: '#d8dee9', background: '#ffffff', series: ['#2563eb', '#ea580c', '#64748b'] }

/** For an SVG inside a page that defines these properties, for light and dark. */
export const page: Theme = {
  ink: 'var(--ink)',
  faint: 'var(--faint)',
  background: 'transparent',
  series: ['var(--series-1)', 'var(--series-2)', 'var(--series-3)'],
}

/** More points than this are averaged in groups: a curve has no more pixels. */
const MAX_POINTS = 600

interface Line {
  readonly name: string
  readonly points: readonly (readonly [step: number, value: number])[]
  /** Show each point, for values measured now and then. */
  readonly dots?: boolean
}

/** Training and validation loss over steps, with the unigram entropy to compare with. */
export function lossCurve(records: readonly MetricsRecord[], unigramEntropy: number, theme: Theme): Promise<string> {
  const steps = stepsOf(records)
  const validations = records.filter((r): r is ValidationRecord => r.type === 'validation')
  const lines = [
    { name: 'training', points: averaged(steps.map((r) => [r.step, r.loss])) },
    { name: 'validation', points: validations.map((r) => [r.step, r.loss] as const), dots: true },
  ]
  return chart(lines, { y: 'loss, nats per token', zero: false, level: { value: unigramEntropy, name: 'unigram entropy' } }, theme)
}

export function throughputCurve(records: readonly MetricsRecord[], theme: Theme): Promise<string> {
  const points = averaged(stepsOf(records).map((r) => [r.step, r.tokensPerSecond]))
  return chart([{ name: 'tokens per second', points }], { y: 'tokens per second', zero: true }, theme)
}

export function shareCurve(records: readonly MetricsRecord[], theme: Theme): Promise<string> {
  const steps = stepsOf(records)
  const timed = steps.flatMap(({ step, attentionShare }): [number, number][] =>
    attentionShare === null ? [] : [[step, 100 * attentionShare]],
  )
  const lines = [
    { name: 'FLOP utilisation', points: averaged(steps.map((r) => [r.step, 100 * r.utilisation])) },
    ...(timed.length > 0 ? [{ name: "attention's share of kernel time", points: averaged(timed) }] : []),
  ]
  return chart(lines, { y: 'percent', zero: true }, theme)
}

export function memoryCurve(records: readonly MetricsRecord[], theme: Theme): Promise<string> {
  const steps = stepsOf(records)
  const lines = [
    { name: 'process', points: averaged(steps.map((r) => [r.step, r.residentBytes / 2 ** 20])) },
    { name: 'backend (peak)', points: averaged(steps.map((r) => [r.step, r.backendBytes / 2 ** 20])) },
  ]
  return chart(lines, { y: 'MiB', zero: true }, theme)
}

function stepsOf(records: readonly MetricsRecord[]): StepRecord[] {
  return records.filter((r): r is StepRecord => r.type === 'step')
}

function averaged(points: readonly (readonly [number, number])[]): (readonly [number, number])[] {
  const size = Math.ceil(points.length / MAX_POINTS)
  if (size <= 1) return [...points]
  const groups = Array.from({ length: Math.ceil(points.length / size) }, (_, i) => points.slice(i * size, (i + 1) * size))
  return groups.map((group) => {
    const mean = (axis: 0 | 1) => group.reduce((sum, point) => sum + point[axis], 0) / group.length
    return [mean(0), mean(1)] as const
  })
}

interface Axes {
  readonly y: string
  readonly zero: boolean
  readonly level?: { readonly value: number; readonly name: string }
}

async function chart(lines: readonly Line[], { y, zero, level }: Axes, theme: Theme): Promise<string> {
  // Charts are drawn once in a while, vega takes a while to load.
  const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')])
  const values = lines.flatMap(({ name, points, dots }) => points.map(([step, value]) => ({ name, step, value, dots: dots === true })))
  const scale = { domain: lines.map((line) => line.name), range: theme.series.slice(0, lines.length) as string[] }
  const encoding = {
    x: { field: 'step', type: 'quantitative', title: 'step', scale: { nice: false }, axis: { format: 'd', tickMinStep: 1 } },
    y: { field: 'value', type: 'quantitative', title: y, scale: { zero } },
    color: { field: 'name', type: 'nominal', scale, legend: { title: null, orient: 'top', symbolType: 'stroke' } },
  } as const
  const spec: TopLevelSpec = {
    width: 640,
    height: 240,
    background: theme.background,
    data: { values },
    layer: [
      { mark: { type: 'line', strokeWidth: 1.6 }, encoding },
      { mark: { type: 'point', filled: true, size: 28 }, transform: [{ filter: 'datum.dots' }], encoding },
      ...(level ? levelLayers(level, theme) : []),
    ],
    config: themeConfig(theme),
  }
  const view = new vega.View(vega.parse(vegaLite.compile(spec).spec), { renderer: 'none' })
  const svg = await view.toSVG()
  view.finalize()
  return svg
}

/** A dashed line across the chart with its name on it. */
function levelLayers({ value, name }: { value: number; name: string }, theme: Theme): LayerSpec[] {
  const y = { datum: value, type: 'quantitative' } as const
  const text = `${name} ${value.toFixed(2)}`
  const color = theme.series[2]
  return [
    { mark: { type: 'rule', strokeDash: [5, 4], color }, data: { values: [{}] }, encoding: { y } },
    { mark: { type: 'text', align: 'right', dy: -7, text, color }, data: { values: [{}] }, encoding: { x: { value: 'width' }, y } },
  ]
}

type LayerSpec = Extract<TopLevelSpec, { layer: unknown }>['layer'][number]

function themeConfig(theme: Theme) {
  const text = { labelColor: theme.ink, titleColor: theme.ink, labelFontSize: 11, titleFontSize: 12, titleFontWeight: 'normal' as const }
  return {
    font: 'system-ui, sans-serif',
    view: { stroke: null },
    axis: { ...text, gridColor: theme.faint, domainColor: theme.faint, tickColor: theme.faint },
    legend: { labelColor: theme.ink, labelFontSize: 12, labelLimit: 400 },
  }
}
