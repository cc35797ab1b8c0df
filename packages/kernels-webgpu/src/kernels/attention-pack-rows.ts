import type { Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import text from '../shaders/attention-pack-rows.wgsl'
import type { WebGPUTensor } from '../tensor'
import { headsOf } from './attention-problem'

export const attentionPackRows = defineShader('attention-pack-rows', text, combinations({ Element: ['f32', 'f16'] }))

/** Part of packed rows [H, rows, rowVectors, 4]: `vectors` of four elements from `firstVector` on; or all of packed rows [rows, H, vectors, 4]. */
export interface PackedPart {
  readonly rows: number
  /** Rows of a sequence. */
  readonly seqlen: number
  readonly vectors: number
  readonly firstVector: number
  /** Rows are those of all heads, one row after the other: contiguous, where D is 4·vectors. */
  readonly heads?: 'inside'
}

/** Writes rows of q, k, v or dout [..., H, D] as f32 and zeros beyond D into `packed`. */
export function packRows(ctx: KernelContext, tensor: Tensor, packed: WebGPUTensor, part: PackedPart): void {
  const { params, workgroups, heads } = partParams(ctx, tensor, packed, part)
  const constants = { Element: tensor.dtype }
  const bindings = { x: heads, packed }
  ctx.run({ shader: attentionPackRows, entry: 'attentionPackRows', constants, bindings, params: { ...params, factor: 1 }, workgroups })
}

/** The way back: tensor = factor·sums. */
export function unpackRows(ctx: KernelContext, sums: WebGPUTensor, tensor: WebGPUTensor, part: PackedPart, factor: number): void {
  const { params, workgroups, heads } = partParams(ctx, tensor, sums, part)
  const constants = { Element: tensor.dtype }
  const bindings = { sums, dx: heads }
  ctx.run({ shader: attentionPackRows, entry: 'attentionUnpackRows', constants, bindings, params: { ...params, factor }, workgroups })
}

function partParams(
  ctx: KernelContext,
  tensor: Tensor,
  packed: WebGPUTensor,
  { rows, seqlen, vectors, firstVector, heads: order }: PackedPart,
) {
  const [nHeads, headDim] = tensor.shape.slice(-2) as [number, number]
  const rowVectors = order === 'inside' ? nHeads * vectors : (packed.shape[2] as number)
  const headVectors = order === 'inside' ? vectors : rows * rowVectors
  const heads = headsOf(ctx, tensor)
  const [x, y] = ctx.grid(Math.ceil((rows * vectors) / 64))
  const { start, batchStride, rowStride, headStride } = heads
  const params = {
    rows,
    seqlen: tensor.shape.length === 3 ? rows : seqlen,
    headDim,
    start,
    batchStride,
    rowStride,
    headStride,
    vectors,
    rowVectors,
    headVectors,
    firstVector,
    grid: x,
  }
  return { heads, params, workgroups: [x, y, nHeads] as const }
}
