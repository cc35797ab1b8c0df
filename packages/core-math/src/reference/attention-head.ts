import { type AttentionProblem, type Broadcast, contiguousStrides, type Sequence, sequenceOf, type Tensor } from '@tilegrad/tensor'
import type { FloatArray, Reference } from './reference'

/** One query head of one sequence of a batch. */
export interface Head extends Sequence {
  readonly b: number
  readonly h: number
  /** Its key head, ⌊h·nHeadsK/nHeads⌋. */
  readonly hk: number
  /** Index of its first row in lse. */
  readonly lseBegin: number
}

/** All query heads of all sequences, in the order in which sums over them run. */
export function headsOf(problem: AttentionProblem): Head[] {
  const { batchSize, nHeads, nHeadsK, totalQ, cuSeqlensQ, seqlenQ } = problem
  return Array.from({ length: batchSize }, (_, b) => {
    const sequence = sequenceOf(problem, b)
    return Array.from({ length: nHeads }, (_, h) => ({
      ...sequence,
      b,
      h,
      hk: Math.floor((h * nHeadsK) / nHeads),
      lseBegin: cuSeqlensQ ? h * totalQ + sequence.beginQ : (b * nHeads + h) * seqlenQ,
    }))
  }).flat()
}

/** Copy [seqlen, headDim] of rows [begin, begin + seqlen) of one head of x [rows, nHeads, headDim]. */
export function takeHead(
  ref: Reference,
  x: FloatArray,
  begin: number,
  seqlen: number,
  head: number,
  nHeads: number,
  headDim: number,
): FloatArray {
  const result = ref.floats(seqlen * headDim)
  for (let i = 0; i < seqlen; i++) {
    const at = ((begin + i) * nHeads + head) * headDim
    result.set(x.subarray(at, at + headDim), i * headDim)
  }
  return result
}

/** Adds [seqlen, headDim] to rows [begin, begin + seqlen) of one head of x [rows, nHeads, headDim]. */
export function addHead(
  from: FloatArray,
  x: FloatArray,
  begin: number,
  seqlen: number,
  head: number,
  nHeads: number,
  headDim: number,
): void {
  for (let i = 0; i < seqlen; i++) {
    const at = ((begin + i) * nHeads + head) * headDim
    for (let d = 0; d < headDim; d++) x[at + d] = (x[at + d] as number) + (from[i * headDim + d] as number)
  }
}

/** An option that is a tensor, its elements row by row, and where in them that of (b, h, i, j) is. */
export interface Values {
  readonly values: FloatArray
  /** 0 along axes on which it is broadcast. */
  readonly strides: readonly number[]
}

export function valuesOf(ref: Reference, { tensor, strides }: Broadcast): Values {
  return { values: ref.load(tensor), strides: rowMajorStrides(tensor, strides.length) }
}

/** Strides of a contiguous copy of `tensor` read as if it had `rank` axes, 0 where it is broadcast. */
function rowMajorStrides({ shape }: Tensor, rank: number): number[] {
  const own = contiguousStrides(shape)
  const missing = rank - shape.length
  return Array.from({ length: rank }, (_, axis) => (axis < missing || shape[axis - missing] === 1 ? 0 : (own[axis - missing] as number)))
}
