import type { Recorder } from '../recorder'
import type { Variable } from '../variable'

/** Options of Tape.softmax. */
export interface SoftmaxOptions {
  /** Factor of x. Default 1. */
  readonly scale?: number
  /** Keep j ≤ i + Sk − Sq. Default false. */
  readonly causal?: boolean
}

export function softmax(tape: Recorder, x: Variable, { scale = 1, causal = false }: SoftmaxOptions = {}): Variable {
  const { kernels } = tape.backend
  const result = kernels.softmaxForward(tape.use('softmax', x), { scale, causal })
  return tape.record('softmax', [x], result, (save) => {
    const saved = save(result)
    return (context) => {
      // Masked elements need no mask here: their probability is 0, and it is a factor of their gradient.
      context.replaceDout((out) => kernels.softmaxBackward(context.dout, saved.tensor, { scale, ...out }))
      context.share(0)
    }
  })
}
