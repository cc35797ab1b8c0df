/** Product of the axes; 1 for a scalar. */
export function numel(shape: readonly number[]): number {
  let n = 1
  for (const s of shape) n *= s
  return n
}

/** Row-major strides in elements. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length)
  let step = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step
    step *= shape[i] as number
  }
  return strides
}

/** Whether elements lie row-major without gaps; axes of length 1 and empty tensors put no condition on strides. */
export function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  if (shape.includes(0)) return true
  let step = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    const s = shape[i] as number
    if (s !== 1 && strides[i] !== step) return false
    step *= s
  }
  return true
}

export function shapesEqual(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((s, i) => s === b[i])
}

/** `[2, 3]`, for messages. */
export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`
}
