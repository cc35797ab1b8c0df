import type { DType, TypedArray } from '../dtype'
import { DTypeError } from '../errors/dtype-error'
import { ShapeError } from '../errors/shape-error'
import { formatShape, numel } from '../shape'

type Data = TypedArray | readonly number[]

const fits: Readonly<Record<DType, readonly string[]>> = {
  f32: ['Float32Array', 'Float64Array', 'number[]'],
  i32: ['Int32Array', 'number[]'],
  f16: ['Uint16Array'],
  bf16: ['Uint16Array'],
}

/**
 * Checks the arguments of `backend.tensor(data, shape, dtype)` and returns the dtype that the tensor gets.
 * @throws ShapeError, DTypeError as Backend.tensor says.
 */
export function checkTensorData(data: Data, shape: readonly number[], dtype?: DType): DType {
  checkShape('tensor', shape)
  if (data.length !== numel(shape)) {
    throw new ShapeError('tensor', `${numel(shape)} elements for shape ${formatShape(shape)}`, `${data.length}`)
  }
  if (dtype === undefined && data instanceof Uint16Array) {
    throw new DTypeError('tensor', "dtype must be 'f16' or 'bf16' for a Uint16Array of bits", 'none')
  }
  const to = dtype ?? (data instanceof Int32Array ? 'i32' : 'f32')
  if (!fits[to]) throw new DTypeError('tensor', 'dtype must be f32, f16, bf16 or i32', String(to))
  const name = Array.isArray(data) ? 'number[]' : data.constructor.name
  if (!fits[to].includes(name)) throw new DTypeError('tensor', `data of dtype ${to} must be ${fits[to].join(' or ')}`, name)
  return to
}

/** Throws ShapeError unless every axis is a non-negative integer. */
export function checkShape(fn: string, shape: readonly number[]): void {
  if (shape.some((size) => !Number.isInteger(size) || size < 0)) {
    throw new ShapeError(fn, 'axes that are integers ≥ 0', formatShape(shape))
  }
}
