import { checkRmsNormBackward, checkRmsNormForward, type Kernels } from '@tilegrad/tensor'
import type { Reference } from './reference'

/** rmsNorm and its gradient. */
export function rmsNormKernels(ref: Reference): Pick<Kernels, 'rmsNormForward' | 'rmsNormBackward'> {
  const { round: r } = ref
  return {
    rmsNormForward(x, weight, options = {}) {
      const { rows, channels, eps, outShape, statShape, dtype } = checkRmsNormForward(ref.backend, x, weight, options)
      const [input, w] = [ref.load(x), ref.load(weight)]
      const out = ref.floats(input.length)
      const rstd = ref.floats(rows)
      for (let row = 0; row < rows; row++) {
        const at = row * channels
        let squares = 0
        for (let j = 0; j < channels; j++) squares = r(squares + r((input[at + j] as number) * (input[at + j] as number)))
        const scale = r(1 / r(Math.sqrt(r(r(squares / channels) + r(eps)))))
        for (let j = 0; j < channels; j++) out[at + j] = r((input[at + j] as number) * scale) * (w[j] as number)
        rstd[row] = scale
      }
      return { out: ref.result(out, outShape, dtype), rstd: ref.result(rstd, statShape, 'f32') }
    },

    rmsNormBackward(dout, x, weight, rstd, options = {}) {
      const { rows, channels } = checkRmsNormBackward(ref.backend, dout, x, weight, rstd, options)
      const [grad, input, w, scale] = [ref.load(dout), ref.load(x), ref.load(weight), ref.load(rstd)]
      const dx = ref.floats(input.length)
      const dweight = ref.floats(channels)
      const normalised = ref.floats(channels)
      const dnormalised = ref.floats(channels)
      for (let row = 0; row < rows; row++) {
        const at = row * channels
        let product = 0
        for (let j = 0; j < channels; j++) {
          const g = grad[at + j] as number
          const xhat = r((input[at + j] as number) * (scale[row] as number))
          const dxhat = r(g * (w[j] as number))
          product = r(product + r(dxhat * xhat))
          dweight[j] = (dweight[j] as number) + r(g * xhat)
          normalised[j] = xhat
          dnormalised[j] = dxhat
        }
        // dx = rstd·(dx̂ − x̂·mean(dx̂·x̂))
        const meanOfProduct = r(product / channels)
        for (let j = 0; j < channels; j++) {
          dx[at + j] = (scale[row] as number) * r((dnormalised[j] as number) - r((normalised[j] as number) * meanOfProduct))
        }
      }
      return {
        dx: ref.result(dx, x.shape, x.dtype),
        dweight: ref.accumulate(dweight, weight.shape, weight.dtype, options.dweightInto),
      }
    },
  }
}
