import type { TopLevelSpec } from 'vega-lite'

/** Lines over the sequence length, one per contender. */
export interface Plot {
  readonly title: string
  /** What the values are. */
  readonly y: string
  /** Whether doubling is what matters. */
  readonly logarithmic: boolean
  readonly points: readonly { readonly series: string; readonly seqlen: number; readonly value: number }[]
}

/** As SVG. */
export function drawLines({ title, y, logarithmic, points }: Plot): Promise<string> {
  const seqlens = [...new Set(points.map(({ seqlen }) => seqlen))].sort((a, b) => a - b)
  return svg({
    width: 480,
    height: 300,
    title,
    data: { values: [...points] },
    mark: { type: 'line', point: true },
    encoding: {
      x: { field: 'seqlen', type: 'quantitative', scale: { type: 'log', base: 2 }, axis: { values: seqlens }, title: 'N' },
      y: { field: 'value', type: 'quantitative', title: y, scale: logarithmic ? { type: 'log' } : { zero: true } },
      color: { field: 'series', type: 'nominal', title: 'with' },
    },
  })
}

/** Draws what vega-lite describes, on white. */
export async function svg(spec: TopLevelSpec): Promise<string> {
  const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')])
  const whole = { background: 'white', config: { legend: { labelLimit: 300 } }, ...spec }
  return new vega.View(vega.parse(vegaLite.compile(whole).spec), { renderer: 'none' }).toSVG()
}
