import { type Backend, type DType, isContiguous, type Tensor } from '@tilegrad/tensor'
import { Gradient, type Region } from './gradient'

/** Where the gradient of one variable is summed: a parameter's for as long as it lives, an operation's until its backward runs. */
export class GradientSlot {
  /** Set when the variable is disposed: it takes no more gradients. */
  closed = false
  protected gradient: Gradient | undefined

  constructor(
    readonly backend: Backend,
    /** What messages call it: the parameter's or the operation's name. */
    readonly label: string,
    readonly shape: readonly number[],
    readonly dtype: DType,
  ) {}

  /** The buffer that a kernel may accumulate into, if there is one. */
  target(): Tensor | undefined {
    const gradient = this.current()
    if (!gradient?.writable) return undefined
    gradient.filled = undefined
    return gradient.tensor
  }

  /** Adds `gradient`, which it takes over, reusing the memory of whichever summand nobody else holds. */
  add(gradient: Gradient): void {
    const { kernels } = this.backend
    const sum = this.current()
    if (!sum) {
      this.gradient = gradient
    } else if (sum.writable) {
      kernels.add(sum.tensor, gradient.tensor, { out: sum.tensor })
      sum.filled = undefined
      gradient.release()
    } else if (gradient.writable) {
      kernels.add(sum.tensor, gradient.tensor, { out: gradient.tensor })
      this.replace(gradient)
    } else {
      const fresh = Gradient.own(kernels.add(sum.tensor, gradient.tensor))
      gradient.release()
      this.replace(fresh)
    }
  }

  /** Adds `part` to one region. All regions of a variable share one buffer, so the slices of a packed projection cost one gradient. */
  addRegion(region: Region, part: Tensor): void {
    const { kernels } = this.backend
    if (!this.current()) {
      this.gradient = Gradient.own(this.backend.zeros(this.shape, this.dtype))
      this.gradient.filled = []
    }
    this.settle()
    const sum = this.gradient as Gradient
    const target = sum.tensor.slice(region.start, region.end)
    if (sum.filled?.every((other) => disjoint(other, region))) {
      kernels.copy(part, { out: target })
    } else if (isContiguous(target.shape, target.strides)) {
      kernels.add(target, part, { out: target })
    } else {
      const total = kernels.add(target, part)
      kernels.copy(total, { out: target })
      total.dispose()
    }
    target.dispose()
    sum.filled?.push(region)
  }

  /** Makes the gradient contiguous memory of its own: what a parameter shows, and what regions are written to. */
  settle(): void {
    const gradient = this.current()
    if (gradient && !gradient.writable) this.replace(Gradient.own(this.backend.kernels.copy(gradient.tensor)))
  }

  /** The tensor for a caller to see, who may write to any of it. */
  expose(): Tensor | undefined {
    const gradient = this.current()
    if (gradient) gradient.filled = undefined
    return gradient?.tensor
  }

  /** Hands the gradient over to the caller. */
  take(): Gradient | undefined {
    const gradient = this.current()
    if (gradient) gradient.filled = undefined
    this.gradient = undefined
    return gradient
  }

  releaseGradient(): void {
    this.take()?.release()
  }

  private current(): Gradient | undefined {
    // A caller who disposed the tensor that `grad` showed has asked for a new one.
    if (this.gradient?.tensor.disposed) this.replace(undefined)
    return this.gradient
  }

  private replace(gradient: Gradient | undefined): void {
    this.gradient?.release()
    this.gradient = gradient
  }
}

function disjoint(a: Region, b: Region): boolean {
  return a.start.some((from, i) => from >= (b.end[i] as number) || (b.start[i] as number) >= (a.end[i] as number))
}
