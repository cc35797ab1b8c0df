import { dot, type HeadProblem, type Rows, type ScoreBias } from './attention-problem'
import { dropoutRow, multiplyRow } from './dropout'
import { maskRow } from './mask'
import type { Tile, TileSchedule } from './schedule'
import { distance, softcapSlope, tileScores } from './score'

/** One query head as the backward pass sees it. */
export interface QueryHead {
  readonly problem: HeadProblem
  readonly dout: Rows
  readonly q: Rows
  readonly lse: Float64Array
  readonly delta: Float64Array
  /** Where the gradient of its bias is added. Heads that share a bias share these elements. */
  readonly dbias?: ScoreBias
}

/** What one tile gives to the gradients. */
export interface TileGradients {
  /** P after dropout, for dV. */
  readonly p: Float64Array[]
  /** Gradient of softmaxScale·(q·k), for dQ and dK. */
  readonly ds: Float64Array[]
  /** Gradient of the scores as softmax sees them, for bias and ALiBi's slope. */
  readonly dscores: Float64Array[]
}

/** Steps 3 to 6 of every backward pass: P and dS of one tile, recomputed from Q, K, V, dO and lse. */
export function tileGradients(head: QueryHead, kTile: Rows, vTile: Rows, schedule: TileSchedule, tile: Tile): TileGradients {
  const { problem } = head
  const rows = schedule.rowBlock(tile.mBlock)
  const keys = schedule.keyBlock(tile.nBlock)
  // 3. S = q·kᵀ, scaled, capped, with ALiBi and bias
  const { capped, scores } = tileScores(head.q.slice(rows.begin, rows.end), kTile, problem, rows.begin, keys.begin)
  // 4. dP = dout·vᵀ
  const dp = head.dout.slice(rows.begin, rows.end).map((row) => Float64Array.from(vTile, (value) => dot(row, value)))
  const dscores: Float64Array[] = []
  const p = scores.map((row, r) => {
    const i = rows.begin + r
    // 5. P = exp(S − lse), 0 where masked; a row that sees no key subtracts 0 instead of −∞
    const lse = head.lse[i] as number
    const shift = lse === Number.NEGATIVE_INFINITY ? 0 : lse
    const probabilities = row.map((s) => Math.exp(s - shift))
    if (!tile.full) maskRow(schedule.schedule, i, keys.begin, keys.end, probabilities, 0)
    // 6. dS = P∘(dP − delta), with dropout on dP, and afterwards on P
    const dropout = dropoutRow(problem, i, keys.begin, keys.end)
    multiplyRow(dp[r] as Float64Array, dropout)
    const gradients = probabilities.map((probability, j) => probability * ((dp[r]?.[j] as number) - (head.delta[i] as number)))
    dscores.push(gradients)
    multiplyRow(probabilities, dropout)
    return probabilities
  })
  // 6. and through the softcap
  const ds = dscores.map((row, r) => row.map((g, j) => g * softcapSlope(capped[r]?.[j] as number, problem.softcap)))
  return { p, ds, dscores }
}

/** Adds a tile to the gradient of the head's bias, and returns its share of that of ALiBi's slope: −Σ distance·dS. */
export function scoreGradients(head: QueryHead, dscores: Rows, rowBegin: number, keyBegin: number): number {
  const { problem, dbias } = head
  let dalibiSlope = 0
  dscores.forEach((row, r) => {
    row.forEach((g, j) => {
      const [i, key] = [rowBegin + r, keyBegin + j]
      dalibiSlope -= distance(problem, i, key) * g
      if (!dbias) return
      const at = dbias.begin + i * dbias.strideQ + key * dbias.strideK
      dbias.values[at] = (dbias.values[at] as number) + g
    })
  })
  return dalibiSlope
}
