import type { Kernels } from '@tilegrad/tensor'
import type { FloatArray, Reference } from './reference'

/** Standard attention's softmax over whole rows, with its gradient. */
export function softmaxKernels(ref: Reference): Pick<Kernels, 'softmaxForward' | 'softmaxBackward'> {
  const { round: r } = ref
  return {
    softmaxForward(x, options = {}) {
      const { scale = 1, causal = false, out } = options
      const seqlenK = x.shape.at(-1) as number
      const seqlenQ = x.shape.at(-2) ?? 1
      const values = ref.load(x).slice()
      for (let row = 0; row * seqlenK < values.length; row++) {
        const visible = causal ? Math.max(0, Math.min(seqlenK, (row % seqlenQ) + 1 + seqlenK - seqlenQ)) : seqlenK
        const at = row * seqlenK
        for (let j = 0; j < visible; j++) values[at + j] = r(scale) * (values[at + j] as number)
        softmaxRow(ref, values.subarray(at, at + visible))
        values.fill(0, at + visible, at + seqlenK)
      }
      return ref.result(values, x.shape, x.dtype, out)
    },

    softmaxBackward(dout, out, options = {}) {
      const { scale = 1, out: into } = options
      const columns = out.shape.at(-1) as number
      const [grad, p] = [ref.load(dout), ref.load(out)]
      const dx = ref.floats(p.length)
      for (let at = 0; at < p.length; at += columns) {
        let delta = 0
        for (let j = at; j < at + columns; j++) delta = r(delta + r((grad[j] as number) * (p[j] as number)))
        for (let j = at; j < at + columns; j++) dx[j] = r(scale) * r((p[j] as number) * r((grad[j] as number) - delta))
      }
      return ref.result(dx, out.shape, out.dtype, into)
    },
  }
}

/** Softmax of one row in place; returns its lse. A row of −∞ alone, or without elements, becomes 0 with lse −∞. */
export function softmaxRow(ref: Reference, row: FloatArray): number {
  const { round: r } = ref
  let max = Number.NEGATIVE_INFINITY
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
  for (let j = 0; j < row.length; j++) row[j] = (row[j] as number) / sum
  return r(max + r(Math.log(sum)))
}
