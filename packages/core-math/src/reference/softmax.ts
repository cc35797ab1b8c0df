import { checkSoftmaxBackward, checkSoftmaxForward, type Kernels } from '@tilegrad/tensor'
import type { FloatArray, Reference } from './reference'

/** Standard attention's softmax over whole rows, with its gradient. */
export function softmaxKernels(ref: Reference): Pick<Kernels, 'softmaxForward' | 'softmaxBackward'> {
  const { round: r } = ref
  return {
    softmaxForward(x, options = {}) {
      const { rows, seqlenQ, seqlenK, scale, causal, outShape, dtype } = checkSoftmaxForward(ref.backend, x, options)
      const values = ref.load(x).slice()
      for (let row = 0; row < rows; row++) {
        const visible = causal ? Math.max(0, Math.min(seqlenK, (row % seqlenQ) + 1 + seqlenK - seqlenQ)) : seqlenK
        const at = row * seqlenK
        for (let j = 0; j < visible; j++) values[at + j] = r(scale) * (values[at + j] as number)
        softmaxRow(ref, values.subarray(at, at + visible))
        values.fill(0, at + visible, at + seqlenK)
      }
      return ref.result(values, outShape, dtype, options.out)
    },

    softmaxBackward(dout, out, options = {}) {
      const { seqlenK, scale, outShape, dtype } = checkSoftmaxBackward(ref.backend, dout, out, options)
      const [grad, p] = [ref.load(dout), ref.load(out)]
      const dx = ref.floats(p.length)
      for (let at = 0; at < p.length; at += seqlenK) {
        let delta = 0
        for (let j = at; j < at + seqlenK; j++) delta = r(delta + r((grad[j] as number) * (p[j] as number)))
        for (let j = at; j < at + seqlenK; j++) dx[j] = r(scale) * r((p[j] as number) * r((grad[j] as number) - delta))
      }
      return ref.result(dx, outShape, dtype, options.out)
    },
  }
}

/**
 * Softmax of one row in place; returns its lse. `sink` is one more score, in the denominator only.
 * A row of −∞ alone, or without elements, becomes 0; its lse is the sink, −∞ without one.
 */
export function softmaxRow(ref: Reference, row: FloatArray, sink = Number.NEGATIVE_INFINITY): number {
  const { round: r } = ref
  let max = sink
  for (let j = 0; j < row.length; j++) max = Math.max(max, row[j] as number)
  if (max === Number.NEGATIVE_INFINITY) {
    row.fill(0)
    return max
  }
  let sum = 0
  for (let j = 0; j < row.length; j++) {
    const e = r(Math.exp(r((row[j] as number) - max)))
    row[j] = e
    sum = r(sum + e)
  }
  sum = r(sum + r(Math.exp(r(sink - max))))
  for (let j = 0; j < row.length; j++) row[j] = (row[j] as number) / sum
  return r(max + r(Math.log(sum)))
}
