import { ArgumentError, type Backend, type Tensor } from '@tilegrad/tensor'
import type { GPTConfig } from './config'

/** Keys and values of the positions seen so far, one preallocated pair [batchSize, capacity, nHeadsK, headDim] per layer. */
export class KVCache {
  /** Positions that every layer holds. */
  length = 0
  private readonly layers: readonly { readonly k: Tensor; readonly v: Tensor }[]

  constructor(
    private readonly backend: Backend,
    config: GPTConfig,
    readonly batchSize: number,
    readonly capacity: number,
  ) {
    const shape = [batchSize, capacity, config.nHeadsK, config.headDim]
    this.layers = Array.from({ length: config.nLayers }, () => ({
      k: backend.keep(backend.empty(shape)),
      v: backend.keep(backend.empty(shape)),
    }))
  }

  /** Refuses `count` more positions of `batchSize` sequences that do not fit. */
  checkRoom(fn: string, batchSize: number, count: number): void {
    if (batchSize !== this.batchSize) throw new ArgumentError(fn, `batchSize must be the cache's ${this.batchSize}`, `${batchSize}`)
    const room = this.capacity - this.length
    if (count > room) throw new ArgumentError(fn, `at most ${room} more positions fit the cache of ${this.capacity}`, `${count}`)
  }

  /** Writes k and v [batchSize, T, nHeadsK, headDim] after the positions seen so far; returns views of all, the new ones included. */
  append(layer: number, k: Tensor, v: Tensor): { k: Tensor; v: Tensor } {
    const cached = this.layers[layer]
    if (!cached) throw new ArgumentError('KVCache.append', `layer must be in 0..${this.layers.length - 1}`, `${layer}`)
    const end = this.length + (k.shape[1] as number)
    const write = (from: Tensor, to: Tensor): Tensor => {
      const slot = to.slice([0, this.length], [this.batchSize, end])
      this.backend.kernels.copy(from, { out: slot })
      slot.dispose()
      return to.slice([0, 0], [this.batchSize, end])
    }
    return { k: write(k, cached.k), v: write(v, cached.v) }
  }

  /** Counts `count` positions as seen, once every layer has appended them. */
  advance(count: number): void {
    this.length += count
  }

  /** Forgets all positions. */
  clear(): void {
    this.length = 0
  }

  dispose(): void {
    for (const { k, v } of this.layers) {
      k.dispose()
      v.dispose()
    }
  }
}
