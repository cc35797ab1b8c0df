import { numel, type Tensor } from '@tilegrad/tensor'
import type { KernelContext, View } from '../kernel-context'
import type { WebGPUTensor } from '../tensor'

/** x [..., C] as `rows` rows of `columns` contiguous elements, `stride` elements apart. */
export interface Rows extends View {
  readonly rows: number
  readonly columns: number
  readonly stride: number
}

/** Describes a tensor as rows, through a contiguous copy where its leading axes do not lie on one stride. */
export function asRows(ctx: KernelContext, tensor: Tensor): Rows {
  const stride = rowStride(tensor)
  if (stride === undefined) return asRows(ctx, ctx.contiguous(tensor))
  const view = ctx.view(tensor)
  const columns = tensor.shape.at(-1) ?? 1
  return { tensor: view.tensor, start: view.start, rows: numel(leadingAxes(tensor)), columns, stride }
}

function leadingAxes({ shape }: Tensor): readonly number[] {
  return shape.length > 0 ? shape.slice(0, -1) : shape
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
export function resultOf(ctx: KernelContext, shape: readonly number[], dtype: Tensor['dtype'], out: Tensor | undefined): WebGPUTensor {
  if (out === undefined) return ctx.empty(shape, dtype)
  ctx.touch(out)
  return out as WebGPUTensor
}

/** Invocations for a workgroup that takes a row: few for short rows, which end sooner than barriers do. */
export function rowWorkgroup(columns: number): 64 | 256 {
  return columns <= 1024 ? 64 : 256
}
