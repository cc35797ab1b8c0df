import type { CrossEntropyOptions, Tensor } from '@tilegrad/tensor'
import type { Recorder } from '../recorder'
import type { Variable } from '../variable'

export function crossEntropy(tape: Recorder, logits: Variable, targets: Tensor, options: CrossEntropyOptions = {}): Variable {
  const { kernels } = tape.backend
  const [logitsTensor, liveTargets] = [tape.use('crossEntropy', logits), tape.useTensor(targets)]
  const { loss, lse } = kernels.crossEntropyForward(logitsTensor, liveTargets, options)
  const result = tape.record('crossEntropy', [logits], loss, (save) => {
    const [savedLogits, savedTargets, savedLse] = [save(logitsTensor), save(liveTargets), save(lse)]
    return (context) =>
      context.receive(0, kernels.crossEntropyBackward(context.dout, savedLogits.tensor, savedTargets.tensor, savedLse.tensor, options))
  })
  lse.dispose()
  return result
}

export function linearCrossEntropy(
  tape: Recorder,
  x: Variable,
  weight: Variable,
  targets: Tensor,
  options: CrossEntropyOptions = {},
): Variable {
  const { kernels } = tape.backend
  const [xt, weightTensor] = [tape.use('linearCrossEntropy', x), tape.use('linearCrossEntropy', weight)]
  const liveTargets = tape.useTensor(targets)
  const { loss, lse } = kernels.linearCrossEntropyForward(xt, weightTensor, liveTargets, options)
  const result = tape.record('linearCrossEntropy', [x, weight], loss, (save) => {
    const [savedX, savedWeight, savedTargets, savedLse] = [save(xt), save(weightTensor), save(liveTargets), save(lse)]
    return (context) => {
      const dweightInto = context.target(1)
      const { dx, dweight } = kernels.linearCrossEntropyBackward(
        context.dout,
        savedX.tensor,
        savedWeight.tensor,
        savedTargets.tensor,
        savedLse.tensor,
        { ...options, ...(dweightInto && { dweightInto }) },
      )
      context.receive(0, dx)
      context.receive(1, dweight, dweightInto)
    }
  })
  lse.dispose()
  return result
}
