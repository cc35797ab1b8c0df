import type { OutOptions, Tensor } from '@tilegrad/tensor'
import { Gradient, type Region } from './gradient'
import type { GradientSlot } from './gradient-slot'
import { alias, hasContiguousLastAxis } from './view'

/**
 * What the backward of one operation works with: the gradient `dout` of its output, and where the gradients of its inputs go,
 * numbered as they were recorded. Inputs that need no gradient are skipped. Temporaries are freed when the operation's backward returns.
 */
export class BackwardContext {
  private gradient: Gradient | undefined

  constructor(
    gradient: Gradient,
    private readonly inputs: readonly (GradientSlot | undefined)[],
  ) {
    this.gradient = gradient
  }

  get dout(): Tensor {
    return this.held.tensor
  }

  needs(input: number): boolean {
    return this.inputs[input] !== undefined
  }

  /** The buffer with the gradient of `input` so far, for a kernel to accumulate into; undefined if it shall make a new tensor. */
  target(input: number): Tensor | undefined {
    return this.inputs[input]?.target()
  }

  /** Takes a kernel's new result as gradient of `input`; `into` is the target that the kernel was given, if any. */
  receive(input: number, result: Tensor, into?: Tensor): void {
    if (result === into) return
    const slot = this.inputs[input]
    if (slot && !into) slot.add(Gradient.own(result))
    else result.dispose()
  }

  /** `receive` of what `compute` returns, given the target; does not run where no gradient is needed. */
  accumulate(input: number, compute: (into: Tensor | undefined) => Tensor): void {
    if (!this.needs(input)) return
    const into = this.target(input)
    this.receive(input, compute(into), into)
  }

  /** Passes dout on as gradient of `input`: itself, or seen through `view` (made of `dout`), without a copy where kernels can read it. */
  share(input: number, view: Tensor = alias(this.dout)): void {
    const slot = this.inputs[input]
    if (!slot) view.dispose()
    else if (hasContiguousLastAxis(view)) slot.add(this.held.share(view))
    else slot.add(Gradient.own(view.backend.kernels.copy(view)))
  }

  /** Adds a tensor that others may hold to the gradient of `input`. */
  lend(input: number, tensor: Tensor): void {
    this.inputs[input]?.add(Gradient.lend(tensor))
  }

  /** Adds dout to one region of the gradient of `input`. */
  shareRegion(input: number, region: Region): void {
    this.inputs[input]?.addRegion(region, this.dout)
  }

  /** Puts an elementwise function of dout in its place, written over it where nobody else holds it. */
  replaceDout(compute: (options: OutOptions) => Tensor): void {
    const gradient = this.held
    if (gradient.writable) {
      compute({ out: gradient.tensor })
      return
    }
    this.gradient = Gradient.own(compute({}))
    gradient.release()
  }

  /** Moves dout into `slot`, so that this context no longer holds it. */
  handOver(slot: GradientSlot): void {
    const gradient = this.held
    this.gradient = undefined
    slot.add(gradient)
  }

  release(): void {
    this.gradient?.release()
    this.gradient = undefined
  }

  private get held(): Gradient {
    return this.gradient as Gradient
  }
}
