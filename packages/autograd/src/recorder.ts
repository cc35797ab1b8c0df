import { ArgumentError, type Backend, DisposedError, DTypeError, formatShape, isTensor, type Tensor } from '@tilegrad/tensor'
import { TapeMismatchError } from './errors/tape-mismatch-error'
import { GradientSlot } from './gradient-slot'
import { type BackwardFunction, Node } from './node'
import { SavedTensor } from './saved-tensor'
import { Variable } from './variable'

/** Keeps a tensor for backward; called while an operation is recorded. */
export type Save = (tensor: Tensor) => SavedTensor

/** What a traced function used that was not made in it. */
export interface Trace<T> {
  readonly result: T
  readonly variables: ReadonlySet<Variable>
  /** By the handle that the function was given, the live handle behind it. */
  readonly tensors: ReadonlyMap<Tensor, Tensor>
}

/** Records operations: the part of the tape that the operations themselves see. Define-by-run, one graph per forward pass. */
export class Recorder {
  private nextId = 0
  private enabled = true
  private readonly scopes: Variable[][] = []
  private tracing: { firstId: number; variables: Set<Variable>; tensors: Map<Tensor, Tensor> } | undefined
  private substitutes: ReadonlyMap<Tensor, Tensor> = new Map()

  constructor(readonly backend: Backend) {}

  /** Whether operations are recorded: false inside noGrad. */
  get recording(): boolean {
    return this.enabled
  }

  /** The id that the next variable or operation will get. */
  get position(): number {
    return this.nextId
  }

  /**
   * A trainable tensor. Takes ownership of `tensor` and keeps it out of every scope: it lives until dispose().
   * @throws DTypeError for an integer tensor.
   */
  parameter(tensor: Tensor, options: { readonly name?: string } = {}): Variable {
    if (tensor.dtype === 'i32') throw new DTypeError('parameter', 'a floating-point tensor', tensor.dtype)
    this.backend.keep(tensor)
    const label = `parameter ${options.name === undefined ? formatShape(tensor.shape) : `'${options.name}'`}`
    return this.variable(tensor, new GradientSlot(this.backend, label, tensor.shape, tensor.dtype), options.name)
  }

  /** A tensor that gets no gradient. Takes ownership of `tensor`. */
  constant(tensor: Tensor): Variable {
    return this.variable(tensor, undefined)
  }

  /**
   * The tensor of a variable that operation `fn` is about to read.
   * @throws TapeMismatchError, or DisposedError if it is disposed.
   */
  use(fn: string, variable: Variable): Tensor {
    if (isTensor(variable)) throw new ArgumentError(fn, 'expected a Variable (wrap it: tape.constant(tensor))', 'a Tensor')
    if (variable.tape !== this) throw new TapeMismatchError(fn, variable.describe())
    if (variable.value.disposed) throw new DisposedError(fn, variable.describe())
    if (this.tracing && variable.id < this.tracing.firstId) this.tracing.variables.add(variable)
    return variable.value
  }

  /** The live tensor behind a tensor argument (tokens, targets, tables), which an operation is about to read. */
  useTensor(tensor: Tensor): Tensor {
    const live = this.substitutes.get(tensor) ?? tensor
    this.tracing?.tensors.set(tensor, live)
    return live
  }

  /** Whether an operation on these inputs is recorded: what only its backward needs is then worth making. */
  records(inputs: readonly (Variable | undefined)[]): boolean {
    return this.enabled && inputs.some((input) => input?.slot !== undefined)
  }

  /**
   * Makes the variable that shows `output`, the result of operation `op` on `inputs`. Where gradients are wanted, runs `define`, which
   * saves what backward needs and returns it.
   */
  record(op: string, inputs: readonly (Variable | undefined)[], output: Tensor, define: (save: Save) => BackwardFunction): Variable {
    if (!this.records(inputs)) return this.variable(output, undefined)
    const slots = inputs.map((input) => input?.slot)
    const saved: SavedTensor[] = []
    const backward = define((tensor) => {
      const kept = new SavedTensor(tensor)
      saved.push(kept)
      return kept
    })
    return this.variable(output, new Node(this.backend, op, output.shape, output.dtype, this.nextId++, slots, saved, backward))
  }

  /**
   * Disposes the variables and tensors made in `fn` that it does not return (alone, or in arrays, plain objects, Maps or Sets). What was
   * saved for backward and the parameters stay. `fn` must be synchronous. Scopes nest.
   */
  scope<T>(fn: () => T): T {
    const made: Variable[] = []
    this.scopes.push(made)
    try {
      return this.backend.scope(fn)
    } finally {
      this.scopes.pop()
      for (const variable of made) {
        if (variable.value.disposed) variable.dispose()
        else this.scopes.at(-1)?.push(variable)
      }
    }
  }

  /** Runs `fn` without recording: no gradients, and nothing is saved. `fn` must be synchronous. */
  noGrad<T>(fn: () => T): T {
    return this.withRecording(false, 'noGrad', fn)
  }

  /** Runs `fn` without recording and tells what it used from outside: what has to be saved to run it again. */
  trace<T>(fn: () => T): Trace<T> {
    const outer = this.tracing
    const tracing = { firstId: this.nextId, variables: new Set<Variable>(), tensors: new Map<Tensor, Tensor>() }
    this.tracing = tracing
    try {
      const result = this.withRecording(false, 'checkpoint', fn)
      return { result, variables: tracing.variables, tensors: tracing.tensors }
    } finally {
      this.tracing = outer
    }
  }

  /** Runs `fn` again, recording it, with the saved values in place of variables and tensors that may have been disposed since. */
  replay<T>(variables: ReadonlyMap<Variable, Tensor>, tensors: ReadonlyMap<Tensor, Tensor>, fn: () => T): T {
    const substitutes = this.substitutes
    const before = [...variables].map(([variable, value]) => [variable, variable.swapValue(value)] as const)
    this.substitutes = tensors
    try {
      return this.withRecording(true, 'checkpoint', fn)
    } finally {
      this.substitutes = substitutes
      for (const [variable, value] of before) variable.swapValue(value)
    }
  }

  private withRecording<T>(enabled: boolean, fn: string, run: () => T): T {
    const before = this.enabled
    this.enabled = enabled
    try {
      const result = run()
      if (typeof (result as { then?: unknown } | null)?.then === 'function') {
        throw new ArgumentError(fn, 'expected a synchronous function (read results after it)', 'a promise')
      }
      return result
    } finally {
      this.enabled = before
    }
  }

  private variable(tensor: Tensor, slot: GradientSlot | undefined, name?: string): Variable {
    const variable = new Variable(this, this.nextId++, tensor, slot, name)
    this.scopes.at(-1)?.push(variable)
    return variable
  }
}
