import { isContiguous, type Tensor } from '@tilegrad/tensor'
import type { KernelContext, Texels } from '../kernel-context'
import type { WebGPUTensor } from '../tensor'
import { packRows } from './attention-pack-rows'
import { type Places, planesOf } from './attention-problem'

/** Rows of q, k, v or dout in a texture, [rows, H, vectors] of four f32. */
export interface RowTexels extends Places {
  readonly texels: Texels
}

/** A copy of rows in a texture: of the tensor itself where it is f32, contiguous and in whole vectors, else of a packed copy. */
export function rowTexels(ctx: KernelContext, tensor: Tensor, rows: number, seqlen: number): RowTexels {
  const { shape, strides, dtype, byteOffset } = tensor as WebGPUTensor
  const [nHeads, headDim] = shape.slice(-2) as [number, number]
  const vectors = planesOf(headDim)
  const rowStride = 4 * vectors * nHeads
  const places = { start: 0, batchStride: shape.length === 3 ? 0 : seqlen * rowStride, rowStride, headStride: 4 * vectors }
  if (dtype === 'f32' && headDim % 4 === 0 && byteOffset % 16 === 0 && isContiguous(shape, strides)) {
    return { ...places, texels: ctx.texels(tensor) }
  }
  const packed = ctx.temporary([rows, nHeads, vectors, 4])
  packRows(ctx, tensor, packed, { rows, seqlen, vectors, firstVector: 0, heads: 'inside' })
  const texels = ctx.texels(packed)
  packed.dispose() // for the next one to be packed into
  return { ...places, texels }
}
