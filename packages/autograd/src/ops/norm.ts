import type { Recorder } from '../recorder'
import type { Variable } from '../variable'

/** Options of layerNorm and rmsNorm. */
export interface NormOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number
}

export function layerNorm(tape: Recorder, x: Variable, weight: Variable, bias: Variable, options: NormOptions = {}): Variable {
  const { kernels } = tape.backend
  const [xt, weightTensor, biasTensor] = [tape.use('layerNorm', x), tape.use('layerNorm', weight), tape.use('layerNorm', bias)]
  const { out, mean, rstd } = kernels.layerNormForward(xt, weightTensor, biasTensor, options)
  const result = tape.record('layerNorm', [x, weight, bias], out, (save) => {
    const [savedX, savedWeight, savedMean, savedRstd] = [save(xt), save(weightTensor), save(mean), save(rstd)]
    return (context) => {
      const dweightInto = context.target(1)
      const dbiasInto = context.target(2)
      const { dx, dweight, dbias } = kernels.layerNormBackward(
        context.dout,
        savedX.tensor,
        savedWeight.tensor,
        savedMean.tensor,
        savedRstd.tensor,
        { ...(dweightInto && { dweightInto }), ...(dbiasInto && { dbiasInto }) },
      )
      context.receive(0, dx)
      context.receive(1, dweight, dweightInto)
      context.receive(2, dbias, dbiasInto)
    }
  })
  mean.dispose()
  rstd.dispose()
  return result
}

export function rmsNorm(tape: Recorder, x: Variable, weight: Variable, options: NormOptions = {}): Variable {
  const { kernels } = tape.backend
  const [xt, weightTensor] = [tape.use('rmsNorm', x), tape.use('rmsNorm', weight)]
  const { out, rstd } = kernels.rmsNormForward(xt, weightTensor, options)
  const result = tape.record('rmsNorm', [x, weight], out, (save) => {
    const [savedX, savedWeight, savedRstd] = [save(xt), save(weightTensor), save(rstd)]
    return (context) => {
      const dweightInto = context.target(1)
      const options = dweightInto ? { dweightInto } : {}
      const { dx, dweight } = kernels.rmsNormBackward(context.dout, savedX.tensor, savedWeight.tensor, savedRstd.tensor, options)
      context.receive(0, dx)
      context.receive(1, dweight, dweightInto)
    }
  })
  rstd.dispose()
  return result
}
