import type { Tensor } from '@tilegrad/tensor'
import { alias, hasContiguousLastAxis, isTensorContiguous } from './view'

/** A box `[start[i], end[i])` on every axis. */
export interface Region {
  readonly start: readonly number[]
  readonly end: readonly number[]
}

/**
 * One gradient on its way through backward: a tensor outside every scope, and a count of who else holds its memory.
 * Gradients are passed on as views where the mathematics allows it (add, reshape, permute …), and the count says when the
 * last holder may write in place: on a residual stream that saves one buffer per block.
 */
export class Gradient {
  /** Boxes written so far in a buffer that began as zeros; undefined where all of it may be nonzero. */
  filled: Region[] | undefined

  private constructor(
    readonly tensor: Tensor,
    private readonly memory: { holders: number },
  ) {
    tensor.backend.keep(tensor)
  }

  /** Takes over a tensor whose memory nobody else holds. */
  static own(tensor: Tensor): Gradient {
    return new Gradient(tensor, { holders: 1 })
  }

  /** A handle on memory that somebody outside may hold: it is never written to. */
  static lend(tensor: Tensor): Gradient {
    if (!hasContiguousLastAxis(tensor)) return Gradient.own(tensor.backend.kernels.copy(tensor))
    return new Gradient(alias(tensor), { holders: 2 })
  }

  /** A second holder of the same memory, through `view`, which it takes over. */
  share(view: Tensor): Gradient {
    this.memory.holders++
    return new Gradient(view, this.memory)
  }

  /** Whether it may be written in place: contiguous, and nobody else holds the memory. */
  get writable(): boolean {
    return this.memory.holders === 1 && isTensorContiguous(this.tensor)
  }

  release(): void {
    this.memory.holders--
    this.tensor.dispose()
  }
}
