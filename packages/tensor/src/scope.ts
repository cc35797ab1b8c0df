import { TilegradError } from './errors/tilegrad-error'
import { isTensor, type Tensor } from './tensor'

/** Anything that carries tensors out of a scope, such as an autograd Variable. */
export interface HoldsTensors {
  tilegradTensors(): Iterable<Tensor>
}

/** The open scopes of one backend: what each has made and will dispose. */
export class ScopeStack {
  private readonly open: Set<Tensor>[] = []

  /** Called for each new handle. */
  track(tensor: Tensor): void {
    this.open.at(-1)?.add(tensor)
  }

  /** Takes a handle out of every open scope (it was kept, or disposed early). */
  untrack(tensor: Tensor): void {
    for (const made of this.open) made.delete(tensor)
  }

  /** Runs `fn`; disposes what was made in it and is not in its result, which moves to the enclosing scope. */
  run<T>(fn: () => T): T {
    const made = new Set<Tensor>()
    this.open.push(made)
    const kept = new Set<Tensor>()
    try {
      const result = fn()
      if (typeof (result as { then?: unknown } | null)?.then === 'function') {
        throw new TilegradError('scope: fn must be synchronous, got a promise; kernels only enqueue, so read after the scope')
      }
      collectTensors(result, kept)
      return result
    } finally {
      this.open.pop()
      for (const tensor of made) {
        if (!kept.has(tensor)) tensor.dispose()
        else this.open.at(-1)?.add(tensor)
      }
    }
  }
}

function collectTensors(value: unknown, into: Set<Tensor>, seen = new Set<object>()): void {
  if (typeof value !== 'object' || value === null || seen.has(value)) return
  seen.add(value)
  if (isTensor(value)) {
    into.add(value)
  } else if (typeof (value as Partial<HoldsTensors>).tilegradTensors === 'function') {
    for (const tensor of (value as HoldsTensors).tilegradTensors()) into.add(tensor)
  } else if (Array.isArray(value) || value instanceof Map || value instanceof Set) {
    for (const item of value) collectTensors(item, into, seen)
  } else if (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null) {
    for (const item of Object.values(value)) collectTensors(item, into, seen)
  }
}
