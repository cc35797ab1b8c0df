import { type Kernels, numel } from '@tilegrad/tensor'
import { geluForwardInto } from './pointwise'
import { multiplyTransposed, transposed } from './products'
import type { FloatArray, Reference } from './reference'

/** matmul and the bias gradient. */
export function matmulKernels(ref: Reference): Pick<Kernels, 'matmul' | 'sumRows'> {
  const { round: r } = ref
  return {
    matmul(a, b, options = {}) {
      const { transposeA = false, transposeB = false, alpha = 1, bias, activation = 'none', preActivation, accumulateInto } = options
      const leading = a.shape.slice(0, -2)
      const batch = numel(leading)
      const [m, k] = (transposeA ? a.shape.slice(-2).reverse() : a.shape.slice(-2)) as [number, number]
      const n = b.shape.at(transposeB ? -2 : -1) as number
      const outShape = [...leading, m, n]
      const shared = b.shape.length === 2
      const left = ref.load(a)
      const right = ref.load(b)
      const out = ref.floats(batch * m * n)
      for (let i = 0; i < batch; i++) {
        const x = left.subarray(i * m * k, (i + 1) * m * k)
        const y = shared ? right : right.subarray(i * k * n, (i + 1) * k * n)
        multiplyTransposed(
          transposeA ? transposed(x, k, m) : x,
          transposeB ? y : transposed(y, k, n),
          out.subarray(i * m * n, (i + 1) * m * n),
          m,
          n,
          k,
        )
      }
      if (alpha !== 1) for (let i = 0; i < out.length; i++) out[i] = r(alpha) * (out[i] as number)
      if (bias) addBias(out, ref.load(bias))
      if (preActivation) ref.result(out.slice(), outShape, preActivation.dtype, preActivation)
      if (activation === 'gelu') geluForwardInto(ref, out, out)
      return ref.accumulate(out, outShape, a.dtype, accumulateInto)
    },

    sumRows(x, options = {}) {
      const n = x.shape.at(-1) as number
      return ref.accumulate(sumRowsOf(ref.load(x), ref.floats(n)), [n], x.dtype, options.accumulateInto)
    },
  }
}

function addBias(out: FloatArray, bias: FloatArray): void {
  const n = bias.length
  for (let i = 0; i < out.length; i += n) {
    for (let j = 0; j < n; j++) out[i + j] = (out[i + j] as number) + (bias[j] as number)
  }
}

/** Adds the rows of x [R, N] to `sum` [N] in order; returns it. */
export function sumRowsOf(x: FloatArray, sum: FloatArray): FloatArray {
  const n = sum.length
  // Each addition rounds when it is stored.
  for (let i = 0; i < x.length; i += n) {
    for (let j = 0; j < n; j++) sum[j] = (sum[j] as number) + (x[i + j] as number)
  }
  return sum
}
