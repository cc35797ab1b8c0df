import { isContiguous, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import text from '../shaders/attention-pack-rows.wgsl'
import type { WebGPUTensor } from '../tensor'
import { headsOf } from './attention-problem'

export const attentionPackRows = defineShader('attention-pack-rows', text, combinations({ Element: ['f32', 'f16'] }))

/** Vectors of an invocation, where they are copied in order. */
const TURNS = 16

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
  const { params, workgroups, heads, whole } = partParams(ctx, tensor, packed, part)
  ctx.run({
    shader: attentionPackRows,
    entry: whole ? 'attentionPackVectors' : 'attentionPackRows',
    constants: { Element: tensor.dtype },
    bindings: { [whole ? 'vectors' : 'x']: heads, packed },
    params: { ...params, factor: 1 },
    workgroups,
  })
}

/** The way back: tensor = factor·sums. */
export function unpackRows(ctx: KernelContext, sums: WebGPUTensor, tensor: WebGPUTensor, part: PackedPart, factor: number): void {
  const { params, workgroups, heads, whole } = partParams(ctx, tensor, sums, part)
  ctx.run({
    shader: attentionPackRows,
    entry: whole ? 'attentionUnpackVectors' : 'attentionUnpackRows',
    constants: { Element: tensor.dtype },
    bindings: { sums, [whole ? 'dvectors' : 'dx']: heads },
    params: { ...params, factor },
    workgroups,
  })
}

function partParams(ctx: KernelContext, tensor: Tensor, packed: WebGPUTensor, part: PackedPart) {
  const { rows, seqlen, vectors, firstVector } = part
  const [nHeads, headDim] = tensor.shape.slice(-2) as [number, number]
  const inside = part.heads === 'inside'
  const rowVectors = inside ? nHeads * vectors : (packed.shape[2] as number)
  const headVectors = inside ? vectors : rows * rowVectors
  const heads = headsOf(ctx, tensor)
  const { start, batchStride, rowStride, headStride } = heads
  // Whether they are the same vectors in the same order.
  const whole = inside && headDim === 4 * vectors && isContiguous(tensor.shape, tensor.strides) && start % 4 === 0
  const count = whole ? rows * rowVectors : rows * vectors
  const [x, y] = ctx.grid(Math.ceil(count / 64 / (whole ? TURNS : 1)))
  const params = {
    rows: whole ? count : rows,
    seqlen: tensor.shape.length === 3 ? rows : seqlen,
    headDim,
    start: whole ? start / 4 : start,
    batchStride,
    rowStride,
    headStride,
    vectors: whole ? TURNS : vectors,
    rowVectors,
    headVectors,
    firstVector,
    grid: x,
  }
  return { heads, params, whole, workgroups: [x, y, whole ? 1 : nHeads] as const }
}
