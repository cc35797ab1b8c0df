import { dot, type HeadProblem, type Rows } from './attention-problem'
import { maskRow } from './mask'
import type { Tile, TileSchedule } from './schedule'
import { softcapSlope, tileScores } from './score'

/** One query head as the backward pass sees it. */
export interface QueryHead {
  readonly dout: Rows
  readonly q: Rows
  readonly lse: Float64Array
  readonly delta: Float64Array
}

/** Steps 3 to 6 of every backward pass: P and dS of one tile, recomputed from Q, K, V, dO and lse. */
export function tileGradients(
  head: QueryHead,
  kTile: Rows,
  vTile: Rows,
  problem: HeadProblem,
  schedule: TileSchedule,
  tile: Tile,
): { p: Float64Array[]; ds: Float64Array[] } {
  const rows = schedule.rowBlock(tile.mBlock)
  const keys = schedule.keyBlock(tile.nBlock)
  // 3. S = q·kᵀ
  const scores = tileScores(head.q.slice(rows.begin, rows.end), kTile, problem)
  // 4. dP = dout·vᵀ
  const dp = head.dout.slice(rows.begin, rows.end).map((row) => Float64Array.from(vTile, (value) => dot(row, value)))
  const p = scores.map((row, r) => {
    // 5. P = exp(S − lse), 0 where masked
    const lse = head.lse[rows.begin + r] as number
    const probabilities = row.map((s) => Math.exp(s - lse))
    if (!tile.full) maskRow(schedule.schedule, rows.begin + r, keys.begin, keys.end, probabilities, 0)
    return probabilities
  })
  const ds = dp.map((row, r) => {
    // 6. dS = P∘(dP − delta), through the softcap, 0 where masked
    const delta = head.delta[rows.begin + r] as number
    const gradients = row.map((g, j) => (p[r]?.[j] as number) * (g - delta) * softcapSlope(scores[r]?.[j] as number, problem.softcap))
    if (!tile.full) maskRow(schedule.schedule, rows.begin + r, keys.begin, keys.end, gradients, 0)
    return gradients
  })
  return { p, ds }
}
