import { isContiguous, type Tensor } from '@tilegrad/tensor'

/** Another handle on the same elements, with the same strides. */
export function alias(tensor: Tensor): Tensor {
  return tensor.slice([], [])
}

export function isTensorContiguous(tensor: Tensor): boolean {
  return isContiguous(tensor.shape, tensor.strides)
}

/** What every kernel asks of a strided input: neighbours on the last axis are neighbours in memory. */
export function hasContiguousLastAxis(tensor: Tensor): boolean {
  const last = tensor.shape.length - 1
  return last < 0 || (tensor.shape[last] as number) <= 1 || tensor.strides[last] === 1
}

/** `tensor` in another shape: a view where its strides allow one, else a view of a copy, which the caller's scope frees. */
export function reshapeOrCopy(tensor: Tensor, shape: readonly number[]): Tensor {
  try {
    return tensor.reshape(shape)
  } catch (error) {
    if ((error as Error).name !== 'ShapeError' || isTensorContiguous(tensor)) throw error
    return tensor.backend.kernels.copy(tensor).reshape(shape)
  }
}

/** The axes that undo `permute(axes)`. */
export function inverseAxes(axes: readonly number[]): number[] {
  const inverse = new Array<number>(axes.length)
  axes.forEach((axis, i) => {
    inverse[axis] = i
  })
  return inverse
}
