import type { AttentionOptions } from '../attention'
import { ArgumentError } from '../errors/argument-error'
import type { AttentionProblem } from './attention'

/** One sequence of a batch: its rows among all query and key rows, and the band of visible pairs. */
export interface Sequence {
  /** First query row, counted over the whole batch. */
  readonly beginQ: number
  readonly seqlenQ: number
  readonly beginK: number
  readonly seqlenK: number
  /** Key j is in the band of query i iff diagonalMin ≤ j − i ≤ diagonalMax. −∞ = unlimited. */
  readonly diagonalMin: number
  /** +∞ = unlimited. */
  readonly diagonalMax: number
}

type Sequences = Pick<
  AttentionProblem,
  'seqlenQ' | 'seqlenK' | 'cuSeqlensQ' | 'cuSeqlensK' | 'windowLeft' | 'windowRight' | 'causalTopLeft'
>

/** Sequence b of a problem, of equal or of variable lengths. */
export function sequenceOf(problem: Sequences, b: number): Sequence {
  const [beginQ, endQ] = range(problem.cuSeqlensQ, problem.seqlenQ, b)
  const [beginK, endK] = range(problem.cuSeqlensK, problem.seqlenK, b)
  const [seqlenQ, seqlenK] = [endQ - beginQ, endK - beginK]
  const shift = seqlenK - seqlenQ
  const diagonalMax = shift + problem.windowRight
  return {
    beginQ,
    seqlenQ,
    beginK,
    seqlenK,
    diagonalMin: shift - problem.windowLeft,
    diagonalMax: problem.causalTopLeft ? Math.min(0, diagonalMax) : diagonalMax,
  }
}

function range(cuSeqlens: Int32Array | undefined, seqlen: number, b: number): [begin: number, end: number] {
  return cuSeqlens ? [cuSeqlens[b] as number, cuSeqlens[b + 1] as number] : [b * seqlen, (b + 1) * seqlen]
}

/** Both or none, of one length, from 0 to the number of rows, ascending. */
export function checkCuSeqlens(fn: string, { cuSeqlensQ, cuSeqlensK }: AttentionOptions, totalQ: number, totalK: number): void {
  for (const [name, cuSeqlens, total] of [
    ['cuSeqlensQ', cuSeqlensQ, totalQ],
    ['cuSeqlensK', cuSeqlensK, totalK],
  ] as const) {
    if (!(cuSeqlens instanceof Int32Array) || cuSeqlens.length < 1) {
      throw new ArgumentError(
        fn,
        `${name} must be an Int32Array of B + 1 offsets (cuSeqlensQ and cuSeqlensK go together)`,
        describe(cuSeqlens),
      )
    }
    if (cuSeqlens[0] !== 0 || cuSeqlens.at(-1) !== total) {
      throw new ArgumentError(fn, `${name} must go from 0 to ${total}, the number of rows`, `${cuSeqlens[0]} to ${cuSeqlens.at(-1)}`)
    }
    const drop = cuSeqlens.findIndex((offset, b) => b > 0 && offset < (cuSeqlens[b - 1] as number))
    if (drop > 0) throw new ArgumentError(fn, `${name} must ascend`, `${cuSeqlens[drop - 1]} before ${cuSeqlens[drop]}`)
  }
  if (cuSeqlensQ?.length !== cuSeqlensK?.length) {
    throw new ArgumentError(fn, 'cuSeqlensQ and cuSeqlensK must be of one length', `${cuSeqlensQ?.length} and ${cuSeqlensK?.length}`)
  }
}

function describe(value: unknown): string {
  return value instanceof Int32Array ? 'an empty Int32Array' : value === undefined ? 'nothing' : `a ${typeof value}`
}

/** Length of the longest sequence. */
export function longest(cuSeqlens: Int32Array): number {
  let max = 0
  for (let b = 1; b < cuSeqlens.length; b++) max = Math.max(max, (cuSeqlens[b] as number) - (cuSeqlens[b - 1] as number))
  return max
}
