import { ArgumentError, type Backend, formatShape, ShapeError, shapesEqual, type Tensor } from '@tilegrad/tensor'
import type { BackwardContext } from '../backward-context'
import type { Recorder } from '../recorder'
import { SavedTensor } from '../saved-tensor'
import type { Variable } from '../variable'
import { alias } from '../view'

/** What a custom function's forward may do beside computing. */
export interface CustomForwardContext {
  readonly backend: Backend
  /** Keeps tensors for backward, in this order; modifying them in place before it is an error there. */
  save(...tensors: Tensor[]): void
}

/** What a custom function's backward works with. */
export interface CustomBackwardContext {
  readonly backend: Backend
  /** What forward saved; owned by the graph. */
  readonly saved: readonly Tensor[]
  /** Whether input `i` wants a gradient: for the others anything returned is ignored, so it need not be computed. */
  needsGrad(input: number): boolean
}

/** A differentiable function of the user's own. Both run in a scope: temporaries are freed for them. Neither may modify what it is given. */
export interface CustomFunction {
  /** Computes the output from the inputs' values. */
  forward(context: CustomForwardContext, ...inputs: Tensor[]): Tensor
  /** From the gradient of the output, those of the inputs in order, each in its input's shape and dtype; undefined counts as zero. */
  backward(context: CustomBackwardContext, dout: Tensor): readonly (Tensor | undefined)[]
}

export function custom(tape: Recorder, name: string, inputs: readonly Variable[], fn: CustomFunction): Variable {
  const { backend } = tape
  const values = inputs.map((input) => tape.use(name, input))
  const wanted = tape.recording && inputs.some((input) => input.requiresGrad)
  const saved: SavedTensor[] = []
  try {
    const output = backend.scope(() => {
      const save = (...tensors: Tensor[]) => {
        if (wanted) saved.push(...tensors.map((tensor) => new SavedTensor(tensor)))
      }
      const result = fn.forward({ backend, save }, ...values)
      return values.includes(result) ? alias(result) : result
    })
    return tape.record(name, inputs, output, (save) => {
      const held = saved.map(({ tensor }) => save(tensor))
      return (context) =>
        deliver(
          name,
          inputs.map((input) => input.shape),
          context,
          fn.backward({ backend, saved: held.map(({ tensor }) => tensor), needsGrad: (i) => context.needs(i) }, context.dout),
        )
    })
  } finally {
    for (const { tensor } of saved) tensor.dispose()
  }
}

function deliver(
  name: string,
  shapes: readonly (readonly number[])[],
  context: BackwardContext,
  grads: readonly (Tensor | undefined)[],
): void {
  if (grads.length !== shapes.length) {
    throw new ArgumentError(name, `backward must return ${shapes.length} gradients, one per input`, String(grads.length))
  }
  grads.forEach((grad, i) => {
    const shape = shapes[i] as readonly number[]
    if (!grad || !context.needs(i)) return
    if (!shapesEqual(grad.shape, shape)) {
      throw new ShapeError(name, `backward must return gradient ${i} in its input's shape ${formatShape(shape)}`, formatShape(grad.shape))
    }
    // It may be dout, a saved tensor or a view of one, so nothing may write to it.
    context.lend(i, grad)
  })
}
