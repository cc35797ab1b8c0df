import type { DType } from '@tilegrad/tensor'

/** How an output is judged: by its error against the oracle, as a result or as a gradient, or bit by bit. */
export type Kind = 'forward' | 'gradient' | 'exact'

/** Spacing of floating-point numbers in [1, 2). */
const ULP_OF_ONE: Readonly<Record<Exclude<DType, 'i32'>, number>> = { f32: 2 ** -23, f16: 2 ** -10, bf16: 2 ** -7 }

/** How many times the error of naive code in the same precision a kernel may make: flash-attention's rule. */
const FACTOR: Readonly<Record<Exclude<Kind, 'exact'>, number>> = { forward: 2, gradient: 3 }

/**
 * Units in the last place that a kernel is allowed on top, at the magnitude of the output's largest element.
 *
 * The error of naive code is itself random and may be near 0 by luck where few elements or operations are involved, so the
 * multiple alone would ask for more than a correct kernel can give. What a kernel adds to it at the end of a sum is
 * an exp or tanh of its own (vector libraries guarantee 2 ulp where JavaScript's engines err by less than 1), a division done as a
 * multiplication by a reciprocal (1 ulp), and the final rounding to the output's dtype (½ ulp), which makes 4 in whole ulps.
 */
const EXTRA_ULPS = 4

/** The largest error that is accepted, and why. */
export interface Limit {
  readonly value: number
  readonly reason: string
}

/**
 * factor × max|naive − oracle| + 4 ulp(max|oracle|).
 *
 * @param naiveError max|naive − oracle|, over one output tensor
 * @param magnitude max|oracle| over it
 */
export function limit(kind: Exclude<Kind, 'exact'>, dtype: Exclude<DType, 'i32'>, naiveError: number, magnitude: number): Limit {
  const epsilon = EXTRA_ULPS * ULP_OF_ONE[dtype] * magnitude
  return {
    value: FACTOR[kind] * naiveError + epsilon,
    reason: `${FACTOR[kind]} × ${naiveError.toExponential(2)} (naive) + ${epsilon.toExponential(2)}`,
  }
}
