import type { Tensor } from '@tilegrad/tensor'
import type { Recorder } from '../recorder'
import type { Variable } from '../variable'

/** Options of Tape.rope. */
export interface RopeOptions {
  /** Position of the first row. Default 0. */
  readonly positionOffset?: number
}

export function rope(tape: Recorder, x: Variable, cos: Tensor, sin: Tensor, options: RopeOptions = {}): Variable {
  const { kernels } = tape.backend
  const [liveCos, liveSin] = [tape.useTensor(cos), tape.useTensor(sin)]
  return tape.record('rope', [x], kernels.ropeForward(tape.use('rope', x), liveCos, liveSin, options), (save) => {
    const [savedCos, savedSin] = [save(liveCos), save(liveSin)]
    return (context) => context.receive(0, kernels.ropeBackward(context.dout, savedCos.tensor, savedSin.tensor, options))
  })
}
