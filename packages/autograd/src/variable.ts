import { type DType, formatShape, type HoldsTensors, type Tensor } from '@tilegrad/tensor'
import { NoGradientError } from './errors/no-gradient-error'
import type { GradientSlot } from './gradient-slot'
import { Node } from './node'

/**
 * A tensor that a tape knows: a parameter, a constant, or the result of an operation.
 * It owns its tensor. Disposing it never breaks a recorded graph, which holds what it saved by handles of its own.
 */
export class Variable implements HoldsTensors {
  private restored: Tensor | undefined
  private live = true

  /** Made by the tape: parameter(), constant() and operations. `slot` takes its gradient, `id` is its creation order. */
  constructor(
    readonly tape: object,
    readonly id: number,
    private readonly tensor: Tensor,
    readonly slot: GradientSlot | undefined,
    readonly name?: string,
  ) {
    if (slot instanceof Node) slot.retain()
  }

  get value(): Tensor {
    return this.restored ?? this.tensor
  }

  get shape(): readonly number[] {
    return this.tensor.shape
  }

  get dtype(): DType {
    return this.tensor.dtype
  }

  /** Whether gradients flow through it. */
  get requiresGrad(): boolean {
    return this.slot !== undefined
  }

  get isParameter(): boolean {
    return this.slot !== undefined && !(this.slot instanceof Node)
  }

  /**
   * The gradient that backward has accumulated, contiguous, in the shape and dtype of the value; undefined before the first backward
   * and after zeroGrad. The variable owns it.
   * @throws NoGradientError if this is not a parameter.
   */
  get grad(): Tensor | undefined {
    if (!this.isParameter) {
      const advice = this.slot
        ? 'only parameters keep theirs, those of results are freed at their last use'
        : 'make it with parameter() and compute outside noGrad()'
      throw new NoGradientError('grad', this.describe(), advice)
    }
    return this.slot?.expose()
  }

  /** `parameter 'wte' [256, 64]`, for messages. */
  describe(): string {
    const kind = this.slot instanceof Node ? `the result of '${this.slot.label}'` : this.slot ? 'parameter' : 'constant'
    return `${kind}${this.name === undefined ? '' : ` '${this.name}'`} ${formatShape(this.shape)}`
  }

  /** Frees the tensor, and the gradient of a parameter; what no other variable needs of the graph behind it is freed too. */
  dispose(): void {
    if (!this.live) return
    this.live = false
    this.tensor.dispose()
    if (this.slot instanceof Node) {
      this.slot.drop()
    } else if (this.slot) {
      this.slot.closed = true
      this.slot.releaseGradient()
    }
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  tilegradTensors(): Tensor[] {
    return [this.tensor]
  }

  /** Shows `tensor` as `value` until swapped back, and returns what was shown so: recomputation reads variables disposed since. */
  swapValue(tensor: Tensor | undefined): Tensor | undefined {
    const before = this.restored
    this.restored = tensor
    return before
  }
}
