import type { TypedArray } from '@tilegrad/tensor'

/** What a check of one result against the float64 oracle found. */
export interface Check {
  readonly what: string
  readonly maxError: number
  /** `factor` × the error of naive code in the same precision against the same oracle, plus 4 ulp of the largest value: the rule of the conformance suite. */
  readonly allowed: number
  readonly ok: boolean
}

/** A result, what float64 says it is, and what naive code makes of it, which computes in float32: arrays of one length, a part of the whole at most. */
export interface Comparison {
  readonly actual: TypedArray | readonly number[]
  readonly oracle: TypedArray | readonly number[]
  readonly naive: TypedArray | readonly number[]
}

/** Element types that results are stored in, with the spacing of their numbers in [1, 2). */
const ulpOfOne = { f32: 2 ** -23, f16: 2 ** -10 }
export type ElementType = keyof typeof ulpOfOne

/** Forward results may err twice as much as naive float32 does, gradients three times. */
export const forwardFactor = 2
export const gradientFactor = 3

export function check(what: string, parts: readonly Comparison[], factor: number, type: ElementType = 'f32'): Check {
  let [maxError, naiveError, largest] = [0, 0, 0]
  for (const { actual, oracle, naive } of parts) {
    if (actual.length !== oracle.length || naive.length !== oracle.length || oracle.length === 0) return failure(what)
    for (let i = 0; i < oracle.length; i++) {
      const expected = oracle[i] as number
      maxError = worse(maxError, (actual[i] as number) - expected)
      naiveError = worse(naiveError, (naive[i] as number) - expected)
      largest = Math.max(largest, Math.abs(expected))
    }
  }
  const allowed = factor * naiveError + 4 * ulpOfOne[type] * largest
  return { what, maxError, allowed, ok: maxError <= allowed }
}

function failure(what: string): Check {
  return { what, maxError: Number.POSITIVE_INFINITY, allowed: 0, ok: false }
}

/** NaN is as wrong as can be; equal infinities (the lse of an empty row) are right, and their difference is NaN. */
function worse(error: number, difference: number): number {
  return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(error, Math.abs(difference))
}
