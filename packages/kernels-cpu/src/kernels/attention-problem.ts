import type { AttentionProblem, Broadcast, Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'

/** Beyond any sequence and small enough to add sequence lengths to: an unlimited side of a window. */
const unlimited = 2 ** 40

/** Sizes and options as AttentionProblem of native/attention-problem-inl.h reads them. */
export function problemArguments(ctx: KernelContext, problem: AttentionProblem): number[] {
  const { batchSize, seqlenQ, seqlenK, totalQ, totalK, nHeads, nHeadsK, headDim, headDimV } = problem
  const { windowLeft, windowRight, causalTopLeft, softmaxScale, softcap } = problem
  return [
    ...[batchSize, seqlenQ, seqlenK, totalQ, totalK, nHeads, nHeadsK, headDim, headDimV],
    ...cuSeqlens(ctx, problem),
    ...[Math.min(windowLeft, unlimited), Math.min(windowRight, unlimited), Number(causalTopLeft)],
    ...[softmaxScale, softcap],
    ...broadcast(ctx, problem.alibiSlopes, 2),
    ...broadcast(ctx, problem.bias, 4),
    ...blockMask(ctx, problem),
    ...dropout(problem),
  ]
}

/** Strides of [batch, sequence, head, dim] in elements, without the last, which is 1; those of [row, head, dim] have no batch. */
export function headStrides({ strides, shape }: Tensor): number[] {
  return shape.length === 3 ? [0, ...strides.slice(0, 2)] : strides.slice(0, 3)
}

/** Address of sink and its stride, 0 without one. */
export function sinkArguments(ctx: KernelContext, { sink }: AttentionProblem): number[] {
  return sink ? [ctx.address(sink), sink.strides[0] as number] : [0, 0]
}

function cuSeqlens(ctx: KernelContext, { cuSeqlensQ, cuSeqlensK }: AttentionProblem): number[] {
  return [cuSeqlensQ, cuSeqlensK].map((offsets) => (offsets ? ctx.address(ctx.upload(offsets)) : 0))
}

function broadcast(ctx: KernelContext, option: Broadcast | undefined, axes: number): number[] {
  return option ? [ctx.address(option.tensor), ...option.strides] : new Array<number>(1 + axes).fill(0)
}

function blockMask(ctx: KernelContext, { blockMask: mask }: AttentionProblem): number[] {
  if (!mask) return new Array<number>(8).fill(0)
  const { kvOffsets, kvBlocks, kvBits, qOffsets, qBlocks, bits, batchSize, nHeads, seqlenQ, seqlenK, blockM, blockN } = mask
  const parts = [kvOffsets, kvBlocks, kvBits, qOffsets, qBlocks, bits]
  const all = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  const [nMBlocks, nNBlocks] = [Math.ceil(seqlenQ / blockM), Math.ceil(seqlenK / blockN)]
  return [ctx.address(ctx.upload(all)), batchSize, nHeads, nMBlocks, nNBlocks, blockM, blockN, kvBlocks.length]
}

function dropout({ dropoutP, dropoutThreshold, seed }: AttentionProblem): number[] {
  return [dropoutThreshold, 1 / (1 - dropoutP), seed >>> 0, Math.floor(seed / 2 ** 32)]
}
