import { type Backend, DisposedError } from '@tilegrad/tensor'
import { BackwardContext } from './backward-context'
import { BackwardTwiceError } from './errors/backward-twice-error'
import { Node } from './node'

/**
 * The operations behind `root`, last created first: a deterministic reverse topological order. Operations with an id below `firstId`
 * are outside. Checks all of them before anything is computed, so that misuse changes no gradient.
 * @throws BackwardTwiceError, SavedTensorModifiedError, or DisposedError for a parameter that is disposed.
 */
export function backwardOrder(root: Node, firstId = 0): Node[] {
  const seen = new Set<Node>([root])
  const pending = [root]
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (node.isFreed) throw new BackwardTwiceError(node.label)
    node.checkSaved()
    for (const input of node.inputs) {
      if (input?.closed) throw new DisposedError('backward', input.label)
      if (input instanceof Node && input.id >= firstId && !seen.has(input)) {
        seen.add(input)
        pending.push(input)
      }
    }
  }
  return [...seen].sort((a, b) => b.id - a.id)
}

/**
 * Runs the operations in `order`, from the gradient in the slot of its first. Each frees its saved tensors and the gradient of its
 * output as soon as it has run. If one throws, all of them are freed, and the parameters' gradients are incomplete.
 */
export function runBackward(backend: Backend, order: readonly Node[]): void {
  for (const node of order) node.retain()
  try {
    for (const node of order) {
      runNode(backend, node)
      node.free()
    }
  } finally {
    for (const node of order) {
      node.free()
      node.drop()
    }
  }
}

function runNode(backend: Backend, node: Node): void {
  const gradient = node.take()
  if (!gradient) return
  const context = new BackwardContext(gradient, node.inputs)
  try {
    backend.scope(() => node.backward(context))
  } finally {
    context.release()
  }
  for (const input of node.inputs) if (!(input instanceof Node)) input?.settle()
}
