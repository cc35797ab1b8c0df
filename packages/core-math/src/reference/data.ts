import { type DType, DTypeError, formatShape, numel, ShapeError, type TypedArray } from '@tilegrad/tensor'

type Data = TypedArray | readonly number[]

/** The dtype of `backend.tensor(data, shape)` without one. */
export function inferDType(data: Data): DType {
  if (data instanceof Int32Array) return 'i32'
  if (data instanceof Uint16Array) throw new DTypeError('tensor', "dtype must be 'f16' or 'bf16' for a Uint16Array of bits", 'none')
  return 'f32'
}

/** Throws unless `data` can fill a tensor of `shape` and `dtype`. */
export function checkData(data: Data, shape: readonly number[], dtype: DType): void {
  checkShape('tensor', shape)
  if (data.length !== numel(shape)) {
    throw new ShapeError('tensor', `${numel(shape)} elements for shape ${formatShape(shape)}`, `${data.length}`)
  }
  const name = Array.isArray(data) ? 'number[]' : data.constructor.name
  const fits: Readonly<Record<DType, readonly string[]>> = {
    f32: ['Float32Array', 'Float64Array', 'number[]'],
    i32: ['Int32Array', 'number[]'],
    f16: ['Uint16Array'],
    bf16: ['Uint16Array'],
  }
  if (!fits[dtype]) throw new DTypeError('tensor', 'dtype must be f32, f16, bf16 or i32', String(dtype))
  if (!fits[dtype].includes(name)) throw new DTypeError('tensor', `data of dtype ${dtype} must be ${fits[dtype].join(' or ')}`, name)
}

/** Throws unless every axis is a non-negative integer. */
export function checkShape(fn: string, shape: readonly number[]): void {
  if (shape.some((size) => !Number.isInteger(size) || size < 0)) {
    throw new ShapeError(fn, 'axes that are integers ≥ 0', formatShape(shape))
  }
}
