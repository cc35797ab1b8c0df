import type { Recorder } from '../recorder'
import type { Variable } from '../variable'
import { inverseAxes, reshapeOrCopy } from '../view'

export function reshape(tape: Recorder, x: Variable, shape: readonly number[]): Variable {
  return tape.record('reshape', [x], tape.use('reshape', x).reshape(shape), () => {
    const from = x.shape
    return (context) => {
      const view = reshapeOrCopy(context.dout, from)
      context.share(0, view)
    }
  })
}

export function permute(tape: Recorder, x: Variable, axes: readonly number[]): Variable {
  return tape.record('permute', [x], tape.use('permute', x).permute(axes), () => {
    const inverse = inverseAxes(axes)
    return (context) => context.share(0, context.dout.permute(inverse))
  })
}

export function slice(tape: Recorder, x: Variable, start: readonly number[], end: readonly number[]): Variable {
  return tape.record('slice', [x], tape.use('slice', x).slice(start, end), () => {
    const whole = x.shape.slice(start.length)
    const region = { start: [...start, ...whole.map(() => 0)], end: [...end, ...whole] }
    return (context) => context.shareRegion(0, region)
  })
}
