import type { HeadProblem, Rows } from './attention-problem'
import { tileSchedule, zeroRows } from './attention-problem'
import { maskRow } from './mask'
import type { Tile, TileSchedule, TileSizes } from './schedule'
import { tileScores } from './score'
import { TopK } from './top-k'

/** Probabilities exp(score − lse) of chosen query rows of one head, q [Sq, D], k [Sk, D] → [rows, Sk]: each row against the key blocks that its block visits. */
export function attentionRows(
  q: Rows,
  k: Rows,
  lse: Float64Array,
  rows: readonly number[],
  problem: HeadProblem,
  tiles: TileSizes,
): Float64Array[] {
  const schedule = tileSchedule(problem, tiles)
  const out = zeroRows(rows.length, problem.seqlenK)
  rows.forEach((i, n) => {
    // 1. load the Q row
    for (const tile of schedule.tilesOfRows(Math.floor(i / tiles.blockM))) {
      // 2. load the K tile, 3. S = q·kᵀ, scaled, capped, with ALiBi and bias, 4. mask
      const keys = schedule.keyBlock(tile.nBlock)
      const [row] = maskedScores(q, k, problem, schedule, tile, i, i + 1) as [Float64Array]
      // 5. P = exp(S − lse), 0 where masked, and write it
      out[n]?.set(probabilities(row, lse[i] as number), keys.begin)
    }
  })
  return out
}

/** Σ_i exp(score_ij − lse_i) of one head → [Sk]: key blocks outside, the query blocks that see them inside, so that each task owns its sums. */
export function attentionColumnSums(q: Rows, k: Rows, lse: Float64Array, problem: HeadProblem, tiles: TileSizes): Float64Array {
  const schedule = tileSchedule(problem, tiles)
  const sums = new Float64Array(problem.seqlenK)
  for (let nBlock = 0; nBlock < schedule.nNBlocks; nBlock++) {
    // 1. load the K tile
    const keys = schedule.keyBlock(nBlock)
    for (const tile of schedule.tilesOfKeys(nBlock)) {
      // 2. load the Q tile, 3. S = q·kᵀ, scaled, capped, with ALiBi and bias, 4. mask
      const rows = schedule.rowBlock(tile.mBlock)
      maskedScores(q, k, problem, schedule, tile, rows.begin, rows.end).forEach((row, r) => {
        // 5. P = exp(S − lse), 0 where masked, and add its columns
        probabilities(row, lse[rows.begin + r] as number).forEach((p, j) => {
          sums[keys.begin + j] = (sums[keys.begin + j] as number) + p
        })
      })
    }
  }
  return sums
}

/** The topK largest scores of every query of one head, with their probabilities: query blocks outside, a TopK per row. */
export function attentionTopK(
  q: Rows,
  k: Rows,
  lse: Float64Array,
  topK: number,
  problem: HeadProblem,
  tiles: TileSizes,
): { probabilities: Float64Array[]; indices: Int32Array[] } {
  const schedule = tileSchedule(problem, tiles)
  const best = Array.from({ length: problem.seqlenQ }, () => new TopK(topK))
  for (let mBlock = 0; mBlock < schedule.nMBlocks; mBlock++) {
    // 1. load the Q tile
    const rows = schedule.rowBlock(mBlock)
    for (const tile of schedule.tilesOfRows(mBlock)) {
      // 2. load the K tile, 3. S = q·kᵀ, scaled, capped, with ALiBi and bias, 4. mask
      const keys = schedule.keyBlock(tile.nBlock)
      maskedScores(q, k, problem, schedule, tile, rows.begin, rows.end).forEach((row, r) => {
        // 5. take in the row's scores
        row.forEach((score, j) => {
          best[rows.begin + r]?.insert(score, keys.begin + j)
        })
      })
    }
  }
  // 6. P = exp(S − lse) of the best; 0 and −1 where the row sees fewer keys
  return {
    probabilities: best.map(({ scores }, i) => {
      const filled = Float64Array.from({ length: topK }, (_, n) => scores[n] ?? Number.NEGATIVE_INFINITY)
      return probabilities(filled, lse[i] as number)
    }),
    indices: best.map(({ indices }) => Int32Array.from({ length: topK }, (_, n) => indices[n] ?? -1)),
  }
}

/** Scores of queries [begin, end), which lie in the tile, −∞ where masked. */
function maskedScores(
  q: Rows,
  k: Rows,
  problem: HeadProblem,
  schedule: TileSchedule,
  tile: Tile,
  begin: number,
  end: number,
): Float64Array[] {
  const keys = schedule.keyBlock(tile.nBlock)
  const { scores } = tileScores(q.slice(begin, end), k.slice(keys.begin, keys.end), problem, begin, keys.begin)
  scores.forEach((row, r) => {
    if (!tile.full) maskRow(schedule.schedule, begin + r, keys.begin, keys.end, row, Number.NEGATIVE_INFINITY)
  })
  return scores
}

/** exp(S − lse); a row that sees no key subtracts 0 instead of −∞. */
function probabilities(scores: Float64Array, lse: number): Float64Array {
  const shift = lse === Number.NEGATIVE_INFINITY ? 0 : lse
  return scores.map((s) => Math.exp(s - shift))
}
