import { checkLayerNormBackward, checkLayerNormForward, type Kernels } from '@tilegrad/tensor'
import type { Reference } from './reference'

/** layerNorm and its gradient. */
export function layerNormKernels(ref: Reference): Pick<Kernels, 'layerNormForward' | 'layerNormBackward'> {
  const { round: r } = ref
  return {
    layerNormForward(x, weight, bias, options = {}) {
      const { rows, channels, eps, outShape, statShape, dtype } = checkLayerNormForward(ref.backend, x, weight, bias, options)
      const [input, w, b] = [ref.load(x), ref.load(weight), ref.load(bias)]
      const out = ref.floats(input.length)
      const mean = ref.floats(rows)
      const rstd = ref.floats(rows)
      for (let row = 0; row < rows; row++) {
        const at = row * channels
        let sum = 0
        for (let j = 0; j < channels; j++) sum = r(sum + (input[at + j] as number))
        const mu = r(sum / channels)
        let squares = 0
        for (let j = 0; j < channels; j++) {
          const centred = r((input[at + j] as number) - mu)
          squares = r(squares + r(centred * centred))
        }
        const scale = r(1 / r(Math.sqrt(r(r(squares / channels) + r(eps)))))
        for (let j = 0; j < channels; j++) {
          const normalised = r(r((input[at + j] as number) - mu) * scale)
          out[at + j] = r(normalised * (w[j] as number)) + (b[j] as number)
        }
        mean[row] = mu
        rstd[row] = scale
      }
      return {
        out: ref.result(out, outShape, dtype),
        mean: ref.result(mean, statShape, 'f32'),
        rstd: ref.result(rstd, statShape, 'f32'),
      }
    },

    layerNormBackward(dout, x, weight, mean, rstd, options = {}) {
      const { rows, channels } = checkLayerNormBackward(ref.backend, dout, x, weight, mean, rstd, options)
      const [grad, input, w, mu, scale] = [ref.load(dout), ref.load(x), ref.load(weight), ref.load(mean), ref.load(rstd)]
      const dx = ref.floats(input.length)
      const dweight = ref.floats(channels)
      const dbias = ref.floats(channels)
      const normalised = ref.floats(channels)
      const dnormalised = ref.floats(channels)
      for (let row = 0; row < rows; row++) {
        const at = row * channels
        let sum = 0
        let product = 0
        for (let j = 0; j < channels; j++) {
          const g = grad[at + j] as number
          const xhat = r(r((input[at + j] as number) - (mu[row] as number)) * (scale[row] as number))
          const dxhat = r(g * (w[j] as number))
          sum = r(sum + dxhat)
          product = r(product + r(dxhat * xhat))
          dweight[j] = (dweight[j] as number) + r(g * xhat)
          dbias[j] = (dbias[j] as number) + g
          normalised[j] = xhat
          dnormalised[j] = dxhat
        }
        // dx = rstd·(dx̂ − mean(dx̂) − x̂·mean(dx̂·x̂))
        const meanOfSum = r(sum / channels)
        const meanOfProduct = r(product / channels)
        for (let j = 0; j < channels; j++) {
          const along = r((normalised[j] as number) * meanOfProduct)
          dx[at + j] = (scale[row] as number) * r(r((dnormalised[j] as number) - meanOfSum) - along)
        }
      }
      return {
        dx: ref.result(dx, x.shape, x.dtype),
        dweight: ref.accumulate(dweight, weight.shape, weight.dtype, options.dweightInto),
        dbias: ref.accumulate(dbias, weight.shape, weight.dtype, options.dbiasInto),
      }
    },
  }
}
