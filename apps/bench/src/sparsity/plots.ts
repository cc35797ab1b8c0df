import { svg } from '../plot'
import type { Row } from '../results'
import { sparsityGroups } from './report'

const panelSize = { width: 300, height: 240 }

/** Measured times with the line of s × dense time + fixed cost, and counted bytes, over s: a panel per pass, a colour per N. */
export async function sparsityPlot(rows: readonly Row[]): Promise<string | null> {
  const most = Math.max(...rows.filter(({ benchmark }) => benchmark === 'sparsity').map(({ threads }) => threads))
  const found = sparsityGroups(rows).filter(({ dense }) => dense.row.threads === most && dense.row.contender === 'native')
  if (found.length === 0) return null
  const points = found.flatMap(({ dense, sparse, cost }) =>
    [dense, ...sparse].map(({ pass, seqlen, s, seconds, bytes, row }) => ({
      ...{ pass, s, N: String(seqlen), mask: row.parameters.kind === 'butterfly' ? 'butterfly' : 'random' },
      ...{ ms: seconds * 1e3, linear: (s * dense.seconds + cost.fixed) * 1e3, MiB: bytes / 2 ** 20 },
    })),
  )
  const shares = [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64]
  const labelExpr = "datum.value === 1 ? '1' : '1/' + format(1 / datum.value, 'd')"
  const s = { field: 's', type: 'quantitative', scale: { type: 'log', base: 2 }, axis: { values: shares, labelExpr } } as const
  const color = { field: 'N', type: 'nominal', sort: [...new Set(points.map(({ N }) => N))] } as const
  const y = (field: string, title: string) => ({ field, type: 'quantitative', scale: { type: 'log' }, title }) as const
  const panel = (pass: string, field: 'ms' | 'MiB') => {
    const measured = {
      mark: { type: 'point', filled: field === 'ms' },
      encoding: { x: s, y: y(field, field), color, shape: { field: 'mask' } },
    } as const
    const line = { mark: { type: 'line' as const, strokeDash: [4, 3] }, encoding: { x: s, y: y('linear', 'ms'), color } }
    const title = field === 'ms' ? `${pass}: ms, and s × dense + fixed` : `${pass}: counted MiB`
    return {
      ...panelSize,
      title,
      transform: [{ filter: { field: 'pass', equal: pass } }],
      layer: field === 'ms' ? [measured, line] : [measured],
    }
  }
  const passes = [...new Set(points.map(({ pass }) => pass))]
  const rowsOfPanels = (['ms', 'MiB'] as const).map((field) => ({ hconcat: passes.map((pass) => panel(pass, field)) }))
  return svg({ data: { values: points }, vconcat: rowsOfPanels })
}
