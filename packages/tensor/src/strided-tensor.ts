import type { Backend } from './backend'
import { bytesPerElement, type DType, type TypedArray } from './dtype'
import { DisposedError } from './errors/disposed-error'
import { ShapeError } from './errors/shape-error'
import type { ScopeStack } from './scope'
import { contiguousStrides, formatShape, numel } from './shape'
import type { Tensor } from './tensor'

/** Reference-counted device memory under one or more tensors. Starts with one reference, held by its first handle. */
export interface Storage {
  readonly bytes: number
  /** In-place writes so far. */
  version: number
  retain(): void
  /** Drops a reference; the last one frees the memory for work enqueued from now on. */
  release(): void
}

/** What a backend offers to the handles that it makes. */
export interface StridedHost<S extends Storage> extends Backend {
  readonly scopes: ScopeStack
  /** Row-major elements of a live tensor, after pending work. */
  readTensor(tensor: StridedTensor<S>): Promise<TypedArray>
}

// A handle that is collected without dispose() still gives its reference back: a safety net, not a way to free memory.
const forgotten = new FinalizationRegistry<Storage>((storage) => storage.release())

/** The Tensor handle that backends share: view arithmetic and lifetime, over the backend's own storage type. */
export class StridedTensor<S extends Storage = Storage> implements Tensor {
  private live = true

  /** Takes over one reference of `storage`. `offset` is in elements from the start of the storage. */
  constructor(
    readonly backend: StridedHost<S>,
    readonly storage: S,
    readonly shape: readonly number[],
    readonly dtype: DType,
    readonly strides: readonly number[] = contiguousStrides(shape),
    readonly offset = 0,
  ) {
    forgotten.register(this, storage, this)
    backend.scopes.track(this)
  }

  get disposed(): boolean {
    return !this.live
  }

  get version(): number {
    return this.storage.version
  }

  get byteOffset(): number {
    return this.offset * bytesPerElement[this.dtype]
  }

  async read(): Promise<TypedArray> {
    this.assertLive('read')
    return this.backend.readTensor(this)
  }

  reshape(shape: readonly number[]): StridedTensor<S> {
    this.assertLive('reshape')
    const to = inferShape(this.shape, shape)
    const strides = reshapedStrides(this.shape, this.strides, to)
    if (!strides) {
      throw new ShapeError(
        'reshape',
        `a view of ${formatShape(this.shape)} with strides ${formatShape(this.strides)} that needs no copy`,
        `${formatShape(to)}; copy() it first`,
      )
    }
    return this.view(to, strides, this.offset)
  }

  permute(axes: readonly number[]): StridedTensor<S> {
    this.assertLive('permute')
    const rank = this.shape.length
    if (axes.length !== rank || new Set(axes).size !== rank || axes.some((a) => !Number.isInteger(a) || a < 0 || a >= rank)) {
      throw new ShapeError('permute', `axes must be a permutation of 0..${rank - 1}`, formatShape(axes))
    }
    return this.view(
      axes.map((a) => this.shape[a] as number),
      axes.map((a) => this.strides[a] as number),
      this.offset,
    )
  }

  slice(start: readonly number[], end: readonly number[]): StridedTensor<S> {
    this.assertLive('slice')
    if (start.length !== end.length || start.length > this.shape.length) {
      throw new ShapeError('slice', `start and end of one length, at most ${this.shape.length}`, `${start.length} and ${end.length}`)
    }
    const shape = [...this.shape]
    let offset = this.offset
    for (let i = 0; i < start.length; i++) {
      const from = start[i] as number
      const to = end[i] as number
      const size = this.shape[i] as number
      if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to < from || to > size) {
        throw new ShapeError('slice', `0 ≤ start ≤ end ≤ ${size} on axis ${i}`, `[${from}, ${to})`)
      }
      shape[i] = to - from
      offset += from * (this.strides[i] as number)
    }
    return this.view(shape, this.strides, offset)
  }

  dispose(): void {
    if (!this.live) return
    this.live = false
    forgotten.unregister(this)
    this.backend.scopes.untrack(this)
    this.storage.release()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  private view(shape: readonly number[], strides: readonly number[], offset: number): StridedTensor<S> {
    this.storage.retain()
    return new StridedTensor(this.backend, this.storage, shape, this.dtype, strides, offset)
  }

  private assertLive(fn: string): void {
    if (!this.live) throw new DisposedError(fn, `tensor ${formatShape(this.shape)}`)
  }
}

function inferShape(from: readonly number[], shape: readonly number[]): number[] {
  const total = numel(from)
  const to = [...shape]
  const unknown = to.indexOf(-1)
  if (unknown >= 0) {
    const known = to.reduce((n, s, i) => (i === unknown ? n : n * s), 1)
    to[unknown] = known === 0 ? Number.NaN : total / known
  }
  if (to.some((s) => !Number.isInteger(s) || s < 0) || numel(to) !== total) {
    throw new ShapeError('reshape', `${total} elements as in ${formatShape(from)}`, formatShape(shape))
  }
  return to
}

/** Strides of the same elements in shape `to`, or undefined if they would not lie on one stride per axis. */
function reshapedStrides(from: readonly number[], strides: readonly number[], to: readonly number[]): number[] | undefined {
  if (numel(from) === 0) return contiguousStrides(to)
  // Merge neighbouring axes of `from` that already lie like one axis, then cut the merged axes up into `to`.
  const merged: { size: number; stride: number }[] = []
  for (let i = 0; i < from.length; i++) {
    const size = from[i] as number
    const stride = strides[i] as number
    if (size === 1) continue
    const last = merged.at(-1)
    if (last && last.stride === size * stride) {
      last.size *= size
      last.stride = stride
    } else merged.push({ size, stride })
  }
  const result = new Array<number>(to.length).fill(1)
  let axis = merged.length - 1
  let left = merged[axis]?.size ?? 1
  let stride = merged[axis]?.stride ?? 1
  for (let i = to.length - 1; i >= 0; i--) {
    const size = to[i] as number
    result[i] = stride
    if (size === 1) continue
    if (left === 1) {
      axis--
      left = merged[axis]?.size ?? 1
      stride = merged[axis]?.stride ?? 1
      result[i] = stride
    }
    if (left % size !== 0) return undefined
    left /= size
    stride *= size
  }
  return result
}
