import { formatShape, ShapeError, shapesEqual, type Tensor } from '@tilegrad/tensor'
import { backwardOrder, runBackward } from './backward'
import type { BackwardContext } from './backward-context'
import { Node } from './node'
import type { Recorder } from './recorder'
import type { SavedTensor } from './saved-tensor'
import type { Variable } from './variable'
import { alias } from './view'

/**
 * Activation checkpointing (arXiv 1604.06174): runs `fn` and keeps only what goes in, then runs it again in backward. Everything that
 * `fn` reads counts as input, also by closure: parameters and other variables get their gradients, and tensors (tokens, tables) are
 * held until then. `fn` must compute the same both times. Checkpoints nest.
 */
export function checkpoint(tape: Recorder, fn: (...inputs: Variable[]) => Variable, inputs: readonly Variable[]): Variable {
  for (const input of inputs) tape.use('checkpoint', input)
  if (!tape.recording) return tape.scope(() => fn(...inputs))

  const { result, variables, tensors } = tape.trace(() => tape.backend.scope(() => alias(fn(...inputs).value)))
  const used = [...new Set([...inputs, ...variables])]
  return tape.record('checkpoint', used, result, (save) => {
    const values = saveAll(
      save,
      used.map((variable) => [variable, variable.value] as const),
    )
    // Tensors made inside are disposed by now; running again makes them again.
    const outside = saveAll(
      save,
      [...tensors].filter(([, live]) => !live.disposed),
    )
    return (context) =>
      tape.scope(() => recompute(tape, context, () => tape.replay(tensorsOf(values), tensorsOf(outside), () => fn(...inputs))))
  })
}

function recompute(tape: Recorder, context: BackwardContext, again: () => Variable): void {
  const firstId = tape.position
  const { slot, shape } = again()
  if (!shapesEqual(shape, context.dout.shape)) {
    throw new ShapeError('checkpoint', `the shape ${formatShape(context.dout.shape)} again when recomputed`, formatShape(shape))
  }
  if (!slot) return
  // The slots of what lies outside are the original ones, so their gradients need no further step.
  context.handOver(slot)
  if (slot instanceof Node && slot.id >= firstId) runBackward(tape.backend, backwardOrder(slot, firstId))
}

function saveAll<K>(save: (tensor: Tensor) => SavedTensor, entries: readonly (readonly [K, Tensor])[]): Map<K, SavedTensor> {
  return new Map(entries.map(([key, tensor]) => [key, save(tensor)]))
}

function tensorsOf<K>(saved: ReadonlyMap<K, SavedTensor>): Map<K, Tensor> {
  return new Map([...saved].map(([key, { tensor }]) => [key, tensor]))
}
