import { type HeadProblem, tileSchedule, type Visibility } from './attention-problem'
import type { TileSizes } from './schedule'

/**
 * Bytes that attention moves between slow memory (HBM, DRAM) and fast memory (SRAM, caches) of a given size, after
 * FlashAttention (arXiv 2205.14135), §3.2 and §3.3: exact counts, from walking the tile schedule with its band and block mask, and the growth
 * that theorem 2 and proposition 4 state. Standard attention computes and moves what a mask hides like anything else.
 *
 * Counted: every load and store of an operand, result or saved statistic between kernels, or between tiles of one kernel.
 * Not counted: reuse by a cache beyond what a tile holds on purpose, weights, and dropout's random bits, which are recomputed.
 */
export interface IoProblem extends Visibility, Pick<HeadProblem, 'headDim' | 'headDimV'> {
  /** batchSize·nHeads: each of these reads its own Q, K and V, under the same mask. */
  readonly heads: number
  /** Of Q, K, V, O, scores and all gradients. */
  readonly bytesPerElement: number
}

/** Bytes loaded from and stored to slow memory. */
export interface IoBytes {
  readonly loads: number
  readonly stores: number
}

/** lse and delta are float32 whatever the dtype. */
const STATISTIC_BYTES = 4

/** Options of the standard counts. */
export interface StandardIoOptions {
  /**
   * Passes over the score matrix that are kernels of their own besides softmax, each loading and storing it once in the
   * forward pass and once more in the backward pass: masking, dropout, scaling. Default 0: all of them fused into others.
   */
  readonly elementwisePasses?: number
}

/** Algorithm 0: S = QKᵀ, P = softmax(S), O = PV, each a kernel that loads and stores whole matrices. */
export function standardForwardIo(problem: IoProblem, options: StandardIoOptions = {}): IoBytes {
  const { scores, q, k, v, o } = elements(problem)
  const extra = (options.elementwisePasses ?? 0) * scores
  return bytes(problem, {
    loads: q + k + scores + scores + v + extra,
    stores: scores + scores + o + extra,
  })
}

/** Algorithm 3: dV = PᵀdO, dP = dO·Vᵀ, dS = P∘(dP − delta), dQ = dS·K, dK = dSᵀ·Q. */
export function standardBackwardIo(problem: IoProblem, options: StandardIoOptions = {}): IoBytes {
  const { scores, q, k, v, o } = elements(problem)
  const extra = (options.elementwisePasses ?? 0) * scores
  return bytes(problem, {
    loads: scores + o + (o + v) + 2 * scores + (scores + k) + (scores + q) + extra,
    stores: v + scores + scores + q + k + extra,
  })
}

/**
 * Tiles for a fast memory of `fastElements` elements, as algorithm 1 chooses them: the operand that stays takes ⌈M/4d⌉ rows,
 * what streams past takes min(⌈M/4d⌉, d).
 */
export function tilesForFastMemory(fastElements: number, headDim: number, outer: 'queries' | 'keys'): TileSizes {
  const resident = Math.ceil(fastElements / (4 * headDim))
  const streamed = Math.min(resident, headDim)
  return outer === 'queries' ? { blockM: resident, blockN: streamed } : { blockM: streamed, blockN: resident }
}

/**
 * Tiled forward pass. With `'queries'` outside (FlashAttention-2 and this project) Q and O cross once, K and V once per query
 * block. With `'keys'` outside (FlashAttention's algorithm 1, which theorem 2 counts) K and V cross once, and Q, O, m and l
 * once per key block, O, m and l in both directions.
 */
export function flashForwardIo(problem: IoProblem, tiles: TileSizes, outer: 'queries' | 'keys' = 'queries'): IoBytes {
  const { headDim, headDimV, seqlenQ } = problem
  const { q, k, v, o } = elements(problem)
  const visits = tileVisits(problem, tiles)
  if (outer === 'queries') {
    return bytes(problem, { loads: q + visits.keys * (headDim + headDimV), stores: o }, { loads: 0, stores: seqlenQ })
  }
  // O, m and l are initialised in slow memory.
  return bytes(
    problem,
    { loads: k + v + visits.rows * (headDim + headDimV), stores: o + visits.rows * headDimV },
    { loads: 2 * visits.rows, stores: 2 * seqlenQ + 2 * visits.rows },
  )
}

/**
 * Tiled backward pass: delta from dO and O; then, key blocks outside, K, V, dK and dV cross once, and Q, dO, lse, delta and the
 * accumulated dQ once per key block. The first share of dQ is stored without a load.
 */
export function flashBackwardIo(problem: IoProblem, tiles: TileSizes): IoBytes {
  const { headDim, headDimV, seqlenQ } = problem
  const { q, k, v, o } = elements(problem)
  const visits = tileVisits(problem, tiles)
  return bytes(
    problem,
    {
      loads: 2 * o + k + v + visits.rows * (headDim + headDimV) + (visits.rows - visits.rowsOnce) * headDim,
      // Rows that no key block visits get their zeros too.
      stores: k + v + visits.rows * headDim + (q - visits.rowsOnce * headDim),
    },
    { loads: 2 * visits.rows, stores: seqlenQ },
  )
}

/** Theorem 2, in elements for one head and up to a constant: Nd + N² for standard attention. */
export function standardIoGrowth(seqlen: number, headDim: number): number {
  return seqlen * headDim + seqlen ** 2
}

/** Theorem 2, in elements for one head and up to a constant: N²d²/M for tiled attention with d ≤ M ≤ Nd, forward and backward. */
export function flashIoGrowth(seqlen: number, headDim: number, fastElements: number): number {
  return (seqlen ** 2 * headDim ** 2) / fastElements
}

/** Proposition 4: Nd + N²d²s/M for block-sparse tiled attention that visits the share s of all tiles. */
export function blockSparseIoGrowth(seqlen: number, headDim: number, fastElements: number, s: number): number {
  return seqlen * headDim + s * flashIoGrowth(seqlen, headDim, fastElements)
}

/** The share s of all tiles that are visited, in 0..1: what causality, window and block mask leave; 1 of none. */
export function visitedShare(problem: IoProblem, tiles: TileSizes): number {
  const schedule = tileSchedule(problem, tiles)
  const all = schedule.nMBlocks * schedule.nNBlocks
  return all === 0 ? 1 : tileVisits(problem, tiles).tiles / all
}

/** Over all visited tiles: their number, Σ rows and Σ keys; `rowsOnce` counts each visited row once. */
function tileVisits(problem: IoProblem, tiles: TileSizes): { tiles: number; rows: number; keys: number; rowsOnce: number } {
  const schedule = tileSchedule(problem, tiles)
  let [count, rows, keys, rowsOnce] = [0, 0, 0, 0]
  for (let mBlock = 0; mBlock < schedule.nMBlocks; mBlock++) {
    const { begin, end } = schedule.rowBlock(mBlock)
    const visited = schedule.tilesOfRows(mBlock)
    count += visited.length
    rows += visited.length * (end - begin)
    if (visited.length > 0) rowsOnce += end - begin
    for (const { nBlock } of visited) {
      const block = schedule.keyBlock(nBlock)
      keys += block.end - block.begin
    }
  }
  return { tiles: count, rows, keys, rowsOnce }
}

/** Elements of one head's matrices. */
function elements({ seqlenQ, seqlenK, headDim, headDimV }: IoProblem) {
  return { scores: seqlenQ * seqlenK, q: seqlenQ * headDim, k: seqlenK * headDim, v: seqlenK * headDimV, o: seqlenQ * headDimV }
}

function bytes(problem: IoProblem, matrix: IoBytes, statistic: IoBytes = { loads: 0, stores: 0 }): IoBytes {
  const total = (direction: 'loads' | 'stores') =>
    problem.heads * (matrix[direction] * problem.bytesPerElement + statistic[direction] * STATISTIC_BYTES)
  return { loads: total('loads'), stores: total('stores') }
}
