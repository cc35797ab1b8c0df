import { checkTensorData, type DType, type TypedArray } from '@tilegrad/tensor'

type Elements = Float32Array | Int32Array | Uint16Array

/** Data of a caller as the elements of a tensor of `shape`. @throws ShapeError, DTypeError as Backend.tensor says. */
export function toElements(
  data: TypedArray | readonly number[],
  shape: readonly number[],
  dtype?: DType,
): { array: Elements; dtype: DType } {
  const to = checkTensorData(data, shape, dtype)
  return { array: convert(data, to), dtype: to }
}

function convert(data: TypedArray | readonly number[], dtype: DType): Elements {
  if (dtype === 'f32') return data instanceof Float32Array ? data : Float32Array.from(data)
  if (dtype === 'i32') return data instanceof Int32Array ? data : Int32Array.from(data)
  return data as Uint16Array
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
