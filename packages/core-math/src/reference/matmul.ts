import { checkMatmul, checkSumRows, type Kernels } from '@tilegrad/tensor'
import { geluForwardInto } from './pointwise'
import { multiplyTransposed, transposed } from './products'
import type { FloatArray, Reference } from './reference'

/** matmul and the bias gradient. */
export function matmulKernels(ref: Reference): Pick<Kernels, 'matmul' | 'sumRows'> {
  const { round: r } = ref
  return {
    matmul(a, b, options = {}) {
      const problem = checkMatmul(ref.backend, a, b, options)
      const { batch, m, n, k, sharedB, transposeA, transposeB, alpha, activation, outShape, dtype } = problem
      const { bias, preActivation, accumulateInto } = options
      const left = ref.load(a)
      const right = ref.load(b)
      const out = ref.floats(batch * m * n)
      for (let i = 0; i < batch; i++) {
        const x = left.subarray(i * m * k, (i + 1) * m * k)
        const y = sharedB ? right : right.subarray(i * k * n, (i + 1) * k * n)
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
      return ref.accumulate(out, outShape, dtype, accumulateInto)
    },

    sumRows(x, options = {}) {
      const { rows, columns, outShape, dtype } = checkSumRows(ref.backend, x, options)
      const input = ref.load(x)
      const sum = ref.floats(columns)
      // Each addition rounds when it is stored.
      for (let i = 0; i < rows * columns; i += columns) {
        for (let j = 0; j < columns; j++) sum[j] = (sum[j] as number) + (input[i + j] as number)
      }
      return ref.accumulate(sum, outShape, dtype, options.accumulateInto)
    },
  }
}

function addBias(out: FloatArray, bias: FloatArray): void {
  const n = bias.length
  for (let i = 0; i < out.length; i += n) {
    for (let j = 0; j < n; j++) out[i + j] = (out[i + j] as number) + (bias[j] as number)
  }
}
