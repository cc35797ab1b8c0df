import { svg } from '../plot'
import { algorithms, type ErrorRow, results } from './errors'
import { curves, type LossReport } from './loss-curves'

/** Logit scales and sequence lengths step by powers of two. */
const doubling = { type: 'log', base: 2 } as const
const decades = { format: '.0e', values: Array.from({ length: 12 }, (_, i) => 10 ** (i - 11)) }
const size = { width: 150, height: 110 }

/** RMS errors over N: a column per result, a row per logit scale. */
export function errorsOverSeqlen(rows: readonly ErrorRow[]): Promise<string> {
  return svg({
    data: { values: [...rows] },
    facet: {
      row: { field: 'logitScale', type: 'ordinal', title: 'logit scale' },
      column: { field: 'what', type: 'nominal', sort: [...results], title: null },
    },
    spec: {
      ...size,
      mark: { type: 'line', point: { size: 18 }, strokeWidth: 1.5 },
      encoding: {
        x: { field: 'seqlen', type: 'quantitative', scale: doubling, title: 'N', axis: { format: 'd', labelAngle: -45 } },
        y: { field: 'rmsError', type: 'quantitative', scale: { type: 'log' }, title: 'RMS error', axis: decades },
        color: colour('algorithm', algorithms),
      },
    },
  })
}

/** RMS errors (solid) and largest errors (dashed) over the logit scale at one N: a panel per result. */
export function errorsOverLogitScale(rows: readonly ErrorRow[], seqlen: number): Promise<string> {
  const values = rows
    .filter((row) => row.seqlen === seqlen)
    .flatMap(({ maxError, rmsError, ...row }) => [
      { ...row, error: rmsError, kind: 'RMS' },
      { ...row, error: maxError, kind: 'max' },
    ])
  return svg({
    title: `N ${seqlen}`,
    data: { values },
    facet: { column: { field: 'what', type: 'nominal', sort: [...results], title: null } },
    spec: {
      ...size,
      mark: { type: 'line', point: { size: 18 }, strokeWidth: 1.5 },
      encoding: {
        x: {
          field: 'logitScale',
          type: 'quantitative',
          scale: doubling,
          title: 'logit scale',
          axis: { format: 'd' },
        },
        y: { field: 'error', type: 'quantitative', scale: { type: 'log' }, title: 'RMS (solid), max (dashed)', axis: decades },
        color: colour('algorithm', algorithms),
        strokeDash: {
          field: 'kind',
          type: 'nominal',
          sort: ['RMS', 'max'],
          title: null,
          legend: null,
        },
      },
    },
  })
}

/** Training losses, and below them how far they are from standard attention's. */
export function lossCurves({ curves: trained }: LossReport): Promise<string> {
  const standard = trained.find(({ name }) => name === 'standard')?.losses ?? []
  const values = trained.flatMap(({ name, losses }) =>
    losses.map((loss, step) => ({ name, step: step + 1, loss, difference: loss - (standard[step] as number) })),
  )
  const panel = (field: 'loss' | 'difference', title: string, height: number) => ({
    width: 640,
    height,
    mark: { type: 'line', strokeWidth: 1.2 } as const,
    encoding: {
      x: { field: 'step', type: 'quantitative', title: 'step' },
      y: { field, type: 'quantitative', title, scale: { zero: false }, axis: { format: field === 'loss' ? '.1f' : '.0e' } },
      color: colour('name', curves),
      strokeDash: {
        field: 'name',
        type: 'nominal',
        title: null,
        scale: {
          domain: [...curves],
          range: [
            [1, 0],
            [6, 3],
            [2, 2],
          ],
        },
      },
    } as const,
  })
  return svg({
    data: { values },
    vconcat: [panel('loss', 'loss, nats per byte', 200), panel('difference', 'loss − loss of standard', 160)],
  })
}

function colour(field: string, domain: readonly string[]) {
  return { field, type: 'nominal', title: null, scale: { domain: [...domain], range: ['#2563eb', '#ea580c', '#64748b'] } } as const
}
