import { svg } from '../plot'
import { tensorBytes } from '../report/memory'
import type { Row } from '../results'
import { linesOf } from './report'

/** Runtime (left) and memory (right) over N, both axes logarithmic, with the most threads that were measured. */
export async function figurePlot(rows: readonly Row[]): Promise<string | null> {
  const timed = rows.filter(({ benchmark, timing }) => benchmark === 'figure' && timing !== null)
  const most = Math.max(...timed.map(({ threads }) => threads))
  const points = timed
    .filter(({ threads }) => threads === most)
    .map((row) => ({
      line: row.contender,
      N: Number(row.parameters.seqlenQ),
      ms: (row.timing?.median ?? 0) * 1e3,
      MiB: (tensorBytes(row) ?? 0) / 2 ** 20,
    }))
  const seqlens = [...new Set(points.map(({ N }) => N))].sort((a, b) => a - b)
  // A line needs two points.
  if (seqlens.length < 2) return null
  const panel = (field: 'ms' | 'MiB', title: string) => ({
    width: 360,
    height: 300,
    title,
    mark: { type: 'line' as const, point: true },
    encoding: {
      x: {
        field: 'N',
        type: 'quantitative' as const,
        scale: { type: 'log' as const, base: 2 },
        axis: { values: seqlens, format: 'd', labelAngle: -45 },
        title: 'N',
      },
      y: { field, type: 'quantitative' as const, scale: { type: 'log' as const }, title: field },
      color: { field: 'line', type: 'nominal' as const, sort: linesOf(timed), title: null },
    },
  })
  return svg({ data: { values: points }, hconcat: [panel('ms', 'forward + backward, ms'), panel('MiB', 'memory, MiB')] })
}
