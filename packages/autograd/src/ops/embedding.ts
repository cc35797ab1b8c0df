import type { Tensor } from '@tilegrad/tensor'
import type { Recorder } from '../recorder'
import type { Variable } from '../variable'

export function embedding(tape: Recorder, tokens: Tensor, weight: Variable): Variable {
  const { kernels } = tape.backend
  const [liveTokens, weightTensor] = [tape.useTensor(tokens), tape.use('embedding', weight)]
  return tape.record('embedding', [weight], kernels.embeddingForward(liveTokens, weightTensor), (save) => {
    const saved = save(liveTokens)
    const vocabSize = weight.shape[0] as number
    return (context) =>
      context.accumulate(0, (into) =>
        kernels.embeddingBackward(context.dout, saved.tensor, vocabSize, into ? { accumulateInto: into } : {}),
      )
  })
}
