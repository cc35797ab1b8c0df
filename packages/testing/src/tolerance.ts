import type { DType } from '@tilegrad/tensor'

/** How an output is judged: by its error against the oracle, as a result or as a gradient, or bit by bit. */
export type Kind = 'forward' | 'gradient' | 'exact'

/** Spacing of floating-point numbers in [1, 2). */
const ULP_OF_ONE: Readonly<Record<Exclude<DType, 'i32'>, number>> = { f32: 2 ** -23, f16: 2 ** -10, bf16: 2 ** -7 }

/** How many times the error of naive code in the same precision a kernel may make: flash-attention's rule. */
const FACTOR: Readonly<Record<Exclude<Kind, 'exact'>, number>> = { forward: 2, gradient: 3 }

/**
 * Units in the last place that a kernel is allowed on top.
 *
 * The error of naive code is itself random and may be near 0 by luck where few elements or operations are involved, so the
 * multiple alone would ask for more than a correct kernel can give. What a kernel adds to it at the end of a sum is
 * an exp or tanh of its own (vector libraries guarantee 2 ulp where JavaScript's engines err by less than 1), a division done as a
 * multiplication by a reciprocal (1 ulp), and the final rounding to the output's dtype (½ ulp), which makes 4 in whole ulps.
 *
 * They count at the magnitude of the output's largest element and, where large terms cancel by construction, at that of the terms too:
 * the gradient of a softmax over one key is dP − delta = 0, of which naive code, whose two sums run in one order, gets 0, and
 * any other order gets the rounding error of the terms.
 */
const EXTRA_ULPS = 4

/** The largest error that is accepted, and why. */
export interface Limit {
  readonly value: number
  readonly reason: string
}

/**
 * factor × max|naive − oracle| + 4 ulp(max|oracle|) + 4 ulp(terms).
 *
 * @param naiveError max|naive − oracle|, over one output tensor
 * @param magnitude max|oracle| over it
 * @param terms magnitude of the terms that cancel in it, which are f32 whatever the dtype of the output; 0 if none do
 */
export function limit(
  kind: Exclude<Kind, 'exact'>,
  dtype: Exclude<DType, 'i32'>,
  naiveError: number,
  magnitude: number,
  terms: number,
): Limit {
  const epsilon = EXTRA_ULPS * (ULP_OF_ONE[dtype] * magnitude + ULP_OF_ONE.f32 * terms)
  return {
    value: FACTOR[kind] * naiveError + epsilon,
    reason: `${FACTOR[kind]} × ${naiveError.toExponential(2)} (naive) + ${epsilon.toExponential(2)}`,
  }
}

/**
 * Terms of `magnitude` times p = exp(score − lse), which is computed anew from a score and a stored lse.
 *
 * Naive code sums a score in the same order both times, so that for a single key they cancel to the bit; in general they do not.
 * Each has the error of lse, which naive code measures, and the roundings of numbers as large as lse: ½ ulp each for
 * scaling the score, storing lse, and changing both to base 2. An absolute error in the difference is a relative error in p.
 */
export function softmaxTerms(magnitude: number, lse: number, naiveErrorOfLse: number): number {
  const error = 2 * naiveErrorOfLse + 2 * ULP_OF_ONE.f32 * lse
  return (magnitude * error) / (EXTRA_ULPS * ULP_OF_ONE.f32)
}
