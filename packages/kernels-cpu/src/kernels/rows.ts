import { numel, type Tensor } from '@tilegrad/tensor'
import type { CpuTensor, KernelContext } from '../kernel-context'

/** x [..., C] as `rows` rows of `columns` contiguous elements, `stride` elements apart. */
export interface Rows {
  readonly address: number
  readonly rows: number
  readonly columns: number
  readonly stride: number
}

/** Describes a tensor as rows, through a contiguous copy where its leading axes do not lie on one stride. */
export function asRows(ctx: KernelContext, tensor: Tensor): Rows {
  const stride = rowStride(tensor)
  if (stride === undefined) return asRows(ctx, ctx.contiguous(tensor))
  return { address: ctx.address(tensor), rows: numel(tensor.shape.slice(0, -1)), columns: tensor.shape.at(-1) ?? 1, stride }
}

/** Elements between the rows of a tensor, or undefined where there is no one such distance. */
function rowStride({ shape, strides }: Tensor): number | undefined {
  if (numel(shape) === 0) return shape.at(-1) ?? 1
  let stride: number | undefined
  let below = 1 // rows in the axes passed so far
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    const size = shape[axis] as number
    if (size === 1) continue
    stride ??= strides[axis] as number
    if (strides[axis] !== below * stride) return undefined
    below *= size
  }
  return stride ?? shape.at(-1) ?? 1
}

/** The result of an elementwise kernel: `out`, which counts as written, or a new tensor. */
export function resultOf(ctx: KernelContext, shape: readonly number[], out: Tensor | undefined): CpuTensor {
  if (out === undefined) return ctx.empty(shape)
  ctx.touch(out)
  return out as CpuTensor
}
