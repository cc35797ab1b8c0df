import { bf16BitsToF32, f16BitsToF32, f32ToBF16Bits, f32ToF16Bits } from '@tilegrad/core-math'
import { type Backend, type DType, numel, type Tensor, type TypedArray } from '@tilegrad/tensor'

/**
 * How a tensor lies in memory:
 * `contiguous`; `padded`, a slice out of a storage that is larger on every axis and NaN outside the slice, so that rows are
 * misaligned and a read outside the tensor shows; `permuted`, the leading axes stored in reverse order; `packed`, one of three slices of
 * [B, S, 3, H, D], or [total, 3, H, D], as a joint projection makes them.
 */
export type Layout = 'contiguous' | 'padded' | 'permuted' | 'packed'

/** Elements of an input, not yet on a backend. */
export interface HostTensor {
  readonly shape: readonly number[]
  readonly data: Float32Array | Int32Array
  /** `float` is the dtype under test; `f32` and `i32` are what they say whatever is under test. */
  readonly type: 'float' | 'f32' | 'i32'
  readonly layout: Layout
  /** The kernel writes it. */
  readonly written: boolean
}

type HostOptions = Partial<Pick<HostTensor, 'type' | 'layout' | 'written'>>

export function host(shape: readonly number[], data: Float32Array | Int32Array, options: HostOptions = {}): HostTensor {
  if (data.length !== numel(shape)) throw new Error(`a case gives ${data.length} elements for [${shape.join(', ')}]`)
  return { shape, data, type: data instanceof Int32Array ? 'i32' : 'float', layout: 'contiguous', written: false, ...options }
}

/** A tensor that results are written into or added to, so contiguous. */
export function target(shape: readonly number[], data: Float32Array, type: 'float' | 'f32' = 'float'): HostTensor {
  return host(shape, data, { type, written: true })
}

/**
 * Puts `x` on a backend.
 *
 * @param dtype the dtype under test, to which values are rounded
 * @param storeAs the dtype of the tensor; the oracle holds the rounded values in f32
 */
export function place(backend: Backend, x: HostTensor, dtype: DType, storeAs: DType = dtype): Tensor {
  if (x.type !== 'float') return arrange(backend, x, x.data, x.type)
  const rounded = dtype === 'f32' ? x.data : decode(encode(x.data as Float32Array, dtype), dtype)
  return arrange(backend, x, storeAs === 'f32' ? rounded : encode(rounded, storeAs), storeAs)
}

/** Values of a tensor that was read, as float64. */
export function decode(data: TypedArray, dtype: DType): Float64Array {
  if (dtype === 'f16') return Float64Array.from(data, f16BitsToF32)
  if (dtype === 'bf16') return Float64Array.from(data, bf16BitsToF32)
  return Float64Array.from(data)
}

function encode(values: ArrayLike<number>, dtype: DType): Uint16Array {
  return Uint16Array.from(values, dtype === 'f16' ? f32ToF16Bits : f32ToBF16Bits)
}

const POISON: Readonly<Record<DType, number>> = { f32: Number.NaN, f16: 0x7e01, bf16: 0x7fc1, i32: 0x7fffffff }

function arrange(backend: Backend, { shape, layout }: HostTensor, data: TypedArray, dtype: DType): Tensor {
  const rank = shape.length
  if (layout === 'contiguous' || rank === 0) return backend.tensor(data, shape, dtype)
  if (layout === 'permuted') {
    const axes = shape.map((_, axis) => (axis === rank - 1 ? axis : rank - 2 - axis))
    const storage = backend.tensor(
      permuted(data, shape, axes),
      axes.map((axis) => shape[axis] as number),
      dtype,
    )
    return lastView(storage, storage.permute(axes))
  }
  if (layout === 'packed') {
    const [leading, heads] = [shape.slice(0, -2), shape.slice(-2)]
    const storage = backend.tensor(
      embedded(data, [numel(leading), 1, numel(heads)], [0, 1, 0], [0, 1, 0], dtype),
      [...leading, 3, ...heads],
      dtype,
    )
    const slice = lastView(storage, storage.slice([...leading.map(() => 0), 1], [...leading, 2]))
    return lastView(slice, slice.reshape(shape))
  }
  // One row more before and two elements more around on the last axis: odd offsets and strides.
  const before = shape.map((_, axis) => (axis === rank - 1 ? 3 : 1))
  const after = shape.map((_, axis) => (axis === rank - 1 ? 2 : 0))
  const outer = shape.map((size, axis) => size + (before[axis] as number) + (after[axis] as number))
  const storage = backend.tensor(embedded(data, shape, before, after, dtype), outer, dtype)
  return lastView(
    storage,
    storage.slice(
      before,
      shape.map((size, axis) => size + (before[axis] as number)),
    ),
  )
}

/** Drops the handle that `view` was made from. */
function lastView(from: Tensor, view: Tensor): Tensor {
  from.dispose()
  return view
}

/** Row-major elements of [shape[axes[0]], shape[axes[1]], …]. */
function permuted(data: TypedArray, shape: readonly number[], axes: readonly number[]): TypedArray {
  const result = data.slice()
  const index = new Array<number>(shape.length).fill(0)
  for (let to = 0; to < result.length; to++) {
    let rest = to
    for (let i = axes.length - 1; i >= 0; i--) {
      const size = shape[axes[i] as number] as number
      index[axes[i] as number] = rest % size
      rest = Math.floor(rest / size)
    }
    result[to] = data[index.reduce((at, position, axis) => at * (shape[axis] as number) + position, 0)] as number
  }
  return result
}

/** `data` with `before` and `after` poisoned elements around it on each axis. */
function embedded(
  data: TypedArray,
  shape: readonly number[],
  before: readonly number[],
  after: readonly number[],
  dtype: DType,
): TypedArray {
  const outer = shape.map((size, axis) => size + (before[axis] as number) + (after[axis] as number))
  const result = new (data.constructor as new (length: number) => TypedArray)(numel(outer)).fill(POISON[dtype])
  const columns = shape.at(-1) as number
  for (let row = 0; row * columns < data.length; row++) {
    let rest = row
    let at = before.at(-1) as number
    let step = outer.at(-1) as number
    for (let axis = shape.length - 2; axis >= 0; axis--) {
      at += ((rest % (shape[axis] as number)) + (before[axis] as number)) * step
      rest = Math.floor(rest / (shape[axis] as number))
      step *= outer[axis] as number
    }
    result.set(data.subarray(row * columns, (row + 1) * columns) as never, at)
  }
  return result
}
