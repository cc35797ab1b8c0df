import { checkAdamwStep, checkSumSquares, type Kernels } from '@tilegrad/tensor'
import type { Reference } from './reference'

/** AdamW and what global-norm clipping needs. */
export function optimizerKernels(ref: Reference): Pick<Kernels, 'adamwStep' | 'sumSquares'> {
  const { round: r } = ref
  return {
    adamwStep(param, grad, expAvg, expAvgSq, options) {
      const problem = checkAdamwStep(ref.backend, param, grad, expAvg, expAvgSq, options)
      const { lr, beta1, beta2, eps, weightDecay, step, gradScale } = problem
      const [p, m, v] = [ref.load(param).slice(), ref.load(expAvg).slice(), ref.load(expAvgSq).slice()]
      const g = ref.load(grad)
      const stepSize = r(lr / (1 - beta1 ** step))
      const sqrtCorrection2 = r(Math.sqrt(1 - beta2 ** step))
      for (let i = 0; i < p.length; i++) {
        const gi = r(r(gradScale) * (g[i] as number))
        m[i] = r(r(beta1) * (m[i] as number)) + r(r(1 - beta1) * gi)
        v[i] = r(r(beta2) * (v[i] as number)) + r(r(1 - beta2) * r(gi * gi))
        const decayed = r((p[i] as number) * r(1 - lr * weightDecay))
        const denominator = r(r(r(Math.sqrt(v[i] as number)) / sqrtCorrection2) + r(eps))
        p[i] = decayed - r(stepSize * r((m[i] as number) / denominator))
      }
      ref.result(p, param.shape, param.dtype, param)
      ref.result(m, expAvg.shape, expAvg.dtype, expAvg)
      ref.result(v, expAvgSq.shape, expAvgSq.dtype, expAvgSq)
    },

    sumSquares(x, options = {}) {
      checkSumSquares(ref.backend, x, options)
      const input = ref.load(x)
      const sum = ref.floats(1)
      for (let i = 0; i < input.length; i++) sum[0] = (sum[0] as number) + r((input[i] as number) * (input[i] as number))
      return ref.accumulate(sum, [], 'f32', options.accumulateInto)
    },
  }
}
