import type { TypedArray } from '@tilegrad/tensor'

/** Calls `row(from, to)` for each row along the last axis: offset in the strided storage, index in row-major order. */
function eachRow(
  shape: readonly number[],
  strides: readonly number[],
  offset: number,
  row: (strided: number, dense: number) => void,
): void {
  let dense = 0
  const visit = (axis: number, at: number): void => {
    if (axis >= shape.length - 1) {
      row(at, dense)
      dense += shape[axis] ?? 1
      return
    }
    const size = shape[axis] as number
    const stride = strides[axis] as number
    for (let i = 0; i < size; i++) visit(axis + 1, at + i * stride)
  }
  visit(0, offset)
}

/** Copies strided elements of `source` into `target` in row-major order. */
export function gather(source: TypedArray, offset: number, shape: readonly number[], strides: readonly number[], target: TypedArray): void {
  const n = shape.at(-1) ?? 1
  const stride = strides.at(-1) ?? 1
  eachRow(shape, strides, offset, (strided, dense) => {
    for (let i = 0; i < n; i++) target[dense + i] = source[strided + i * stride] as number
  })
}

/** Copies row-major `source` onto strided elements of `target`. */
export function scatter(
  source: TypedArray,
  target: TypedArray,
  offset: number,
  shape: readonly number[],
  strides: readonly number[],
): void {
  const n = shape.at(-1) ?? 1
  const stride = strides.at(-1) ?? 1
  eachRow(shape, strides, offset, (strided, dense) => {
    for (let i = 0; i < n; i++) target[strided + i * stride] = source[dense + i] as number
  })
}
