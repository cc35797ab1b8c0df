import { checkTensorData, type DType, type TypedArray } from '@tilegrad/tensor'

/** Data of a caller as the bytes of a tensor of `shape`. @throws ShapeError, DTypeError as Backend.tensor says. */
export function toBytes(
  data: TypedArray | readonly number[],
  shape: readonly number[],
  dtype?: DType,
): { bytes: Uint8Array; dtype: DType } {
  const to = checkTensorData(data, shape, dtype)
  const { buffer, byteOffset, byteLength } = convert(data, to)
  return { bytes: new Uint8Array(buffer, byteOffset, byteLength), dtype: to }
}

function convert(data: TypedArray | readonly number[], dtype: DType): Float32Array | Int32Array | Uint16Array {
  if (dtype === 'f32') return data instanceof Float32Array ? data : Float32Array.from(data)
  if (dtype === 'i32') return data instanceof Int32Array ? data : Int32Array.from(data)
  return data as Uint16Array
}

/** The array that read() gives, over `length` elements of `bytes` from `offset` on. */
export function arrayOf(dtype: DType, bytes: ArrayBuffer, offset: number, length: number): TypedArray {
  if (dtype === 'f32') return new Float32Array(bytes, offset, length)
  return dtype === 'i32' ? new Int32Array(bytes, offset, length) : new Uint16Array(bytes, offset, length)
}
