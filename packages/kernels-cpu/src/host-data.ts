import { type DType, DTypeError, formatShape, numel, ShapeError, type TypedArray } from '@tilegrad/tensor'

type Elements = Float32Array | Int32Array | Uint16Array

/** Data of a caller as the elements of a tensor of `shape`. @throws ShapeError, DTypeError as Backend.tensor says. */
export function toElements(
  data: TypedArray | readonly number[],
  shape: readonly number[],
  dtype?: DType,
): { array: Elements; dtype: DType } {
  assertShape('tensor', shape)
  if (data.length !== numel(shape)) {
    throw new ShapeError('tensor', `${numel(shape)} elements for ${formatShape(shape)}`, `${data.length}`)
  }
  const to = dtype ?? (data instanceof Int32Array ? 'i32' : 'f32')
  const array = convert(data, to)
  if (!array || (dtype === undefined && data instanceof Uint16Array)) {
    throw new DTypeError('tensor', `${accepted(to)} for ${dtype ?? 'an array without a dtype'}`, data.constructor.name)
  }
  return { array, dtype: to }
}

function convert(data: TypedArray | readonly number[], dtype: DType): Elements | undefined {
  switch (dtype) {
    case 'f32':
      if (data instanceof Float32Array) return data
      return Array.isArray(data) || data instanceof Float64Array ? Float32Array.from(data) : undefined
    case 'i32':
      if (data instanceof Int32Array) return data
      return Array.isArray(data) ? Int32Array.from(data) : undefined
    case 'f16':
    case 'bf16':
      return data instanceof Uint16Array ? data : undefined
  }
}

function accepted(dtype: DType): string {
  if (dtype === 'f32') return 'Float32Array, Float64Array or number[]'
  return dtype === 'i32' ? 'Int32Array or number[]' : 'Uint16Array of raw bits'
}

export function assertShape(fn: string, shape: readonly number[]): void {
  if (shape.some((s) => !Number.isInteger(s) || s < 0)) throw new ShapeError(fn, 'axes that are integers ≥ 0', formatShape(shape))
}

/** The array that read() of a tensor gives. */
export function arrayOf(dtype: DType, length: number): Elements {
  if (dtype === 'f32') return new Float32Array(length)
  return dtype === 'i32' ? new Int32Array(length) : new Uint16Array(length)
}

/** The same memory as bytes. */
export function bytesOf(array: Elements): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}
