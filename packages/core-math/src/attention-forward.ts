import { addScaled, type HeadProblem, type Rows, scaleRow, tileSchedule, zeroRows } from './attention-problem'
import { dropoutRow, multiplyRow } from './dropout'
import { maskRow } from './mask'
import type { Tile, TileSchedule, TileSizes } from './schedule'
import { tileScores } from './score'
import { OnlineSoftmax } from './softmax'

/** Sides of the tiles, and into how many parts the keys of a query block are split; parts could run at the same time. */
export interface ForwardTiles extends TileSizes {
  readonly nSplits?: number
}

/** What one part of the keys contributes to a query block: OnlineSoftmax's m and l, and O not yet divided by l. */
interface PartialResult {
  readonly softmax: OnlineSoftmax
  readonly o: Float64Array[]
}

/**
 * Exact attention of one head in tiles, with FlashAttention-2's loop order (arXiv 2307.08691, algorithm 1): query blocks
 * outside, key blocks inside, O rescaled when a row's maximum grows and divided by the row sum once, at the end.
 * q [Sq, D], k [Sk, D], v [Sk, Dv] → out [Sq, Dv], lse [Sq].
 *
 * With saveProbabilities also P [Sq, Sk], for a backward pass that then need not compute it again: where one key block holds all keys, so that no
 * row of P is rescaled by what a later block brings, and without softcap, whose slope needs S anyway.
 */
export function attentionForward(
  q: Rows,
  k: Rows,
  v: Rows,
  problem: HeadProblem,
  tiles: ForwardTiles,
  saveProbabilities = false,
): { out: Float64Array[]; lse: Float64Array; probabilities?: Float64Array[] } {
  const { seqlenQ, seqlenK, headDimV, softcap, sink } = problem
  const schedule = tileSchedule(problem, tiles)
  const out = zeroRows(seqlenQ, headDimV)
  const lse = new Float64Array(seqlenQ)
  const probabilities = saveProbabilities && seqlenK <= tiles.blockN && softcap === 0 ? zeroRows(seqlenQ, seqlenK) : undefined
  for (let mBlock = 0; mBlock < schedule.nMBlocks; mBlock++) {
    const parts = splitTiles(schedule.tilesOfRows(mBlock), tiles.nSplits ?? 1)
    const { softmax, o } = parts.map((part) => queryBlock(q, k, v, problem, schedule, mBlock, part, probabilities)).reduce(mergeParts)
    // 6. divide by the row sums once, the sink's share counted, and write O, lse and, if it is kept, P
    const { begin } = schedule.rowBlock(mBlock)
    o.forEach((row, r) => {
      const { inverse, lse: rowLse } = softmax.finalise(r, sink)
      scaleRow(row, inverse)
      out[begin + r] = row
      lse[begin + r] = rowLse
      if (probabilities) scaleRow(probabilities[begin + r] as Float64Array, inverse)
    })
  }
  return { out, lse, ...(probabilities && { probabilities }) }
}

/** One query block against one part of the key blocks that it visits. `probabilities` gets its rows of P, not yet divided by l. */
function queryBlock(
  q: Rows,
  k: Rows,
  v: Rows,
  problem: HeadProblem,
  schedule: TileSchedule,
  mBlock: number,
  part: Tile[],
  probabilities: Rows | undefined,
): PartialResult {
  // 1. load the Q tile
  const rows = schedule.rowBlock(mBlock)
  const qTile = q.slice(rows.begin, rows.end)
  const softmax = new OnlineSoftmax(qTile.length)
  const o = zeroRows(qTile.length, problem.headDimV)
  for (const { nBlock, full } of part) {
    // 2. load the K and V tiles
    const keys = schedule.keyBlock(nBlock)
    const kTile = k.slice(keys.begin, keys.end)
    const vTile = v.slice(keys.begin, keys.end)
    // 3. S = q·kᵀ, scaled, capped, with ALiBi and bias
    const { scores } = tileScores(qTile, kTile, problem, rows.begin, keys.begin)
    scores.forEach((row, r) => {
      // 4. mask, softmax, and rescale O where the row's maximum has grown
      if (!full) maskRow(schedule.schedule, rows.begin + r, keys.begin, keys.end, row, Number.NEGATIVE_INFINITY)
      const rescale = softmax.update(r, row)
      scaleRow(o[r] as Float64Array, rescale)
      probabilities?.[rows.begin + r]?.set(row, keys.begin)
      // 5. O += P·v, with dropout on P, of which neither the row sum nor the P that is kept knows
      multiplyRow(row, dropoutRow(problem, rows.begin + r, keys.begin, keys.end))
      vTile.forEach((value, j) => {
        addScaled(o[r] as Float64Array, value, row[j] as number)
      })
    })
  }
  return { softmax, o }
}

/** Cuts a list of tiles into nSplits lists of nearly equal length, in order. */
function splitTiles(tiles: Tile[], nSplits: number): Tile[][] {
  return Array.from({ length: nSplits }, (_, split) =>
    tiles.slice(Math.floor((tiles.length * split) / nSplits), Math.floor((tiles.length * (split + 1)) / nSplits)),
  )
}

/** Merges the second (m, l, O) into the first. */
function mergeParts(into: PartialResult, from: PartialResult): PartialResult {
  into.o.forEach((row, r) => {
    const { own, other } = into.softmax.merge(r, from.softmax)
    scaleRow(row, own)
    addScaled(row, from.o[r] as Float64Array, other)
  })
  return into
}
