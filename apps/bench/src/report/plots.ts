import type { Plot } from '../plot'
import type { Row } from '../results'
import { threadsOf } from './markdown'
import { tensorBytes } from './memory'

/** By file name. */
export function plotsOf(rows: readonly Row[]): Map<string, Plot> {
  const plots = new Map<string, Plot>()
  const add = (title: string, axis: Pick<Plot, 'y' | 'logarithmic'>, row: Row, value: number) => {
    const name = title.replace(/[ +,]+/g, '-')
    const plot = plots.get(name) ?? { title, ...axis, points: [] }
    const point = { series: row.contender, seqlen: Number(row.parameters.seqlenQ), value }
    plots.set(name, { ...plot, points: [...plot.points, point] })
  }
  for (const row of rows) {
    const { benchmark, name, threads, flopsPerSecond, timing } = row
    const title = `${name.replace(/N \d+ /, '')} ${threadsOf(threads)}`
    if (benchmark === 'attention' && flopsPerSecond !== null && row.parameters.nHeads !== 1) {
      add(title, { y: 'GFLOP/s', logarithmic: false }, row, flopsPerSecond / 1e9)
    }
    if (benchmark !== 'memory' || timing === null) continue
    add(`time, ${title}`, { y: 'ms', logarithmic: true }, row, timing.median * 1e3)
    const bytes = tensorBytes(row)
    if (bytes !== null) add(`memory, ${title}`, { y: 'MiB', logarithmic: true }, row, bytes / 2 ** 20)
  }
  // A line needs two points.
  return new Map([...plots].filter(([, { points }]) => new Set(points.map(({ seqlen }) => seqlen)).size > 1))
}
