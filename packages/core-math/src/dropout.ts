import type { HeadProblem } from './attention-problem'
import { attentionRandomRow } from './philox'

/**
 * What dropout multiplies the probabilities of query i and keys [keyBegin, keyEnd) by: 0 where the random word is below the
 * threshold, else 1/(1 − dropoutP). Forward and backward draw the same words. undefined without dropout.
 */
export function dropoutRow(problem: HeadProblem, i: number, keyBegin: number, keyEnd: number): Float64Array | undefined {
  const { dropoutP, dropoutThreshold, seed, batchHead } = problem
  if (dropoutP === 0) return undefined
  const words = attentionRandomRow(seed, batchHead, i, keyBegin, keyEnd)
  return Float64Array.from(words, (word) => (word >= dropoutThreshold ? 1 / (1 - dropoutP) : 0))
}

/** x∘factors, in place; without factors x stays. */
export function multiplyRow(x: Float64Array, factors: Float64Array | undefined): void {
  if (factors) for (let j = 0; j < x.length; j++) x[j] = (x[j] as number) * (factors[j] as number)
}
