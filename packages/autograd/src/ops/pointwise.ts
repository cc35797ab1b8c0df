import type { DType } from '@tilegrad/tensor'
import type { Recorder } from '../recorder'
import type { Variable } from '../variable'

export function add(tape: Recorder, a: Variable, b: Variable): Variable {
  return tape.record('add', [a, b], tape.backend.kernels.add(tape.use('add', a), tape.use('add', b)), () => (context) => {
    context.share(0)
    context.share(1)
  })
}

export function scale(tape: Recorder, x: Variable, factor: number): Variable {
  const { kernels } = tape.backend
  return tape.record('scale', [x], kernels.scale(tape.use('scale', x), factor), () => (context) => {
    context.replaceDout((out) => kernels.scale(context.dout, factor, out))
    context.share(0)
  })
}

export function cast(tape: Recorder, x: Variable, dtype: DType): Variable {
  const { kernels } = tape.backend
  return tape.record('cast', [x], kernels.cast(tape.use('cast', x), dtype), () => (context) => {
    if (x.dtype === dtype) context.share(0)
    else context.receive(0, kernels.cast(context.dout, x.dtype))
  })
}

export function copy(tape: Recorder, x: Variable): Variable {
  return tape.record('copy', [x], tape.backend.kernels.copy(tape.use('copy', x)), () => (context) => context.share(0))
}
