import { dot, type HeadProblem, type Rows, type ScoreBias } from './attention-problem'
import { dropoutRow, multiplyRow } from './dropout'
import { maskRow } from './mask'
import type { Range, Tile, TileSchedule } from './schedule'
import { distance, softcapSlope, tileScores } from './score'

/** One query head as the backward pass sees it. */
export interface QueryHead {
  readonly problem: HeadProblem
  readonly dout: Rows
  readonly q: Rows
  readonly lse: Float64Array
  readonly delta: Float64Array
  /** P [Sq, Sk] as attentionForward kept it: never with softcap, whose slope needs S. */
  readonly probabilities?: Rows
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

/**
 * Steps 3 to 6 of every backward pass: P and dS of one tile, recomputed from Q, K, V, dO and lse. P that was saved spares steps 3 and 5 and, where the tile
 * holds all keys, delta: Σ_d dout_d·out_d = Σ_j P_j·dP_j (arXiv 2205.14135, appendix B.2, eq. 4), with dropout on dP.
 */
export function tileGradients(head: QueryHead, kTile: Rows, vTile: Rows, schedule: TileSchedule, tile: Tile): TileGradients {
  const { problem } = head
  const rows = schedule.rowBlock(tile.mBlock)
  const keys = schedule.keyBlock(tile.nBlock)
  const { p, capped } = head.probabilities ? savedTile(head.probabilities, rows, keys) : computedTile(head, kTile, schedule, tile)
  const wholeRows = head.probabilities !== undefined && kTile.length === problem.seqlenK
  // 4. dP = dout·vᵀ
  const dp = head.dout.slice(rows.begin, rows.end).map((row) => Float64Array.from(vTile, (value) => dot(row, value)))
  // 6. dS = P∘(dP − delta), with dropout on dP, and afterwards on P
  const dscores = p.map((probabilities, r) => {
    const i = rows.begin + r
    const dpRow = dp[r] as Float64Array
    const dropout = dropoutRow(problem, i, keys.begin, keys.end)
    multiplyRow(dpRow, dropout)
    const delta = wholeRows ? dot(probabilities, dpRow) : (head.delta[i] as number)
    const gradients = probabilities.map((probability, j) => probability * ((dpRow[j] as number) - delta))
    multiplyRow(probabilities, dropout)
    return gradients
  })
  // 6. and through the softcap
  const ds = capped ? dscores.map((row, r) => row.map((g, j) => g * softcapSlope(capped[r]?.[j] as number, problem.softcap))) : dscores
  return { p, ds, dscores }
}

/** P before dropout and, where it was computed, the capped scores, which the softcap's slope depends on. */
interface TileProbabilities {
  readonly p: Float64Array[]
  readonly capped?: Float64Array[]
}

function computedTile(head: QueryHead, kTile: Rows, schedule: TileSchedule, tile: Tile): TileProbabilities {
  const rows = schedule.rowBlock(tile.mBlock)
  const keys = schedule.keyBlock(tile.nBlock)
  // 3. S = q·kᵀ, scaled, capped, with ALiBi and bias
  const { capped, scores } = tileScores(head.q.slice(rows.begin, rows.end), kTile, head.problem, rows.begin, keys.begin)
  const p = scores.map((row, r) => {
    const i = rows.begin + r
    // 5. P = exp(S − lse), 0 where masked; a row that sees no key subtracts 0 instead of −∞
    const lse = head.lse[i] as number
    const shift = lse === Number.NEGATIVE_INFINITY ? 0 : lse
    const probabilities = row.map((s) => Math.exp(s - shift))
    if (!tile.full) maskRow(schedule.schedule, i, keys.begin, keys.end, probabilities, 0)
    return probabilities
  })
  return { p, capped }
}

/** In place of steps 3 and 5. */
function savedTile(probabilities: Rows, rows: Range, keys: Range): TileProbabilities {
  return { p: probabilities.slice(rows.begin, rows.end).map((row) => row.slice(keys.begin, keys.end)) }
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
