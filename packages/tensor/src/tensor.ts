import type { Backend } from './backend'
import type { DType, TypedArray } from './dtype'

/**
 * A handle on strided elements that live on a backend.
 *
 * It is an interface and not a class, so that tensors of two installed versions can meet; test for one with
 * `isTensor`, never with `instanceof`. Views share storage: each handle is disposed by itself, and the
 * storage is freed with the last of them.
 */
export interface Tensor {
  /** Length of each axis. `[]` is a scalar with one element. */
  readonly shape: readonly number[]
  /** Distance in elements between neighbours along each axis. */
  readonly strides: readonly number[]
  readonly dtype: DType
  readonly backend: Backend
  readonly disposed: boolean
  /** Counts in-place writes to the storage that this handle shares; autograd compares it to find misuse. */
  readonly version: number

  /** Waits for pending work, then returns the elements in row-major order, whatever the strides. */
  read(): Promise<TypedArray>
  /** View of the same elements in another shape; −1 infers one axis. Throws ShapeError where strides forbid a view. */
  reshape(shape: readonly number[]): Tensor
  /** View with axes reordered: axis i of the result is axis `axes[i]` of this. */
  permute(axes: readonly number[]): Tensor
  /** View of `[start[i], end[i])` on every axis; omitted trailing axes stay whole. */
  slice(start: readonly number[], end: readonly number[]): Tensor
  /** Frees this handle. Twice is harmless; any other use afterwards throws DisposedError. */
  dispose(): void
  [Symbol.dispose](): void
}

/** Duck-typed test for a Tensor of any version of this package. */
export function isTensor(value: unknown): value is Tensor {
  if (typeof value !== 'object' || value === null) return false
  const t = value as Partial<Tensor>
  return Array.isArray(t.shape) && Array.isArray(t.strides) && typeof t.dtype === 'string' && typeof t.read === 'function'
}
