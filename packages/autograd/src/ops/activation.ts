import type { Recorder } from '../recorder'
import type { Variable } from '../variable'

export function gelu(tape: Recorder, x: Variable): Variable {
  const { kernels } = tape.backend
  const xt = tape.use('gelu', x)
  return tape.record('gelu', [x], kernels.geluForward(xt), (save) => {
    const saved = save(xt)
    return (context) => {
      context.replaceDout((out) => kernels.geluBackward(context.dout, saved.tensor, out))
      context.share(0)
    }
  })
}

export function swiglu(tape: Recorder, gate: Variable, up: Variable): Variable {
  const { kernels } = tape.backend
  const [gateTensor, upTensor] = [tape.use('swiglu', gate), tape.use('swiglu', up)]
  return tape.record('swiglu', [gate, up], kernels.swigluForward(gateTensor, upTensor), (save) => {
    const [savedGate, savedUp] = [save(gateTensor), save(upTensor)]
    return (context) => {
      const { dgate, dup } = kernels.swigluBackward(context.dout, savedGate.tensor, savedUp.tensor)
      context.receive(0, dgate)
      context.receive(1, dup)
    }
  })
}
