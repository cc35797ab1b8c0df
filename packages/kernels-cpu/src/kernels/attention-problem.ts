import type { AttentionProblem, BlockMask, Broadcast, Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'

/** Beyond any sequence and small enough to add sequence lengths to: an unlimited side of a window. */
const unlimited = 2 ** 40

// One flat array per call that is pushed to: a decoding step makes a call per layer, and spreading little arrays cost as much as all else in it.

/** Sizes and options as AttentionProblem of native/attention-problem-inl.h reads them. */
export function problemArguments(ctx: KernelContext, problem: AttentionProblem): number[] {
  const { cuSeqlensQ, cuSeqlensK, windowLeft, windowRight, seed } = problem
  const args = [
    problem.batchSize,
    problem.seqlenQ,
    problem.seqlenK,
    problem.totalQ,
    problem.totalK,
    problem.nHeads,
    problem.nHeadsK,
    problem.headDim,
    problem.headDimV,
    cuSeqlensQ ? ctx.address(ctx.upload(cuSeqlensQ)) : 0,
    cuSeqlensK ? ctx.address(ctx.upload(cuSeqlensK)) : 0,
    Math.min(windowLeft, unlimited),
    Math.min(windowRight, unlimited),
    problem.causalTopLeft ? 1 : 0,
    problem.softmaxScale,
    problem.softcap,
  ]
  pushBroadcast(args, ctx, problem.alibiSlopes, 2)
  pushBroadcast(args, ctx, problem.bias, 4)
  pushBlockMask(args, ctx, problem.blockMask)
  args.push(problem.dropoutThreshold, 1 / (1 - problem.dropoutP), seed >>> 0, Math.floor(seed / 2 ** 32))
  return args
}

/** Addresses of tensors, then the strides of [batch, sequence, head] of each in elements; those of [row, head, dim] have no batch. The last stride is 1. */
export function pushHeads(args: number[], ctx: KernelContext, ...tensors: readonly Tensor[]): void {
  for (const tensor of tensors) args.push(ctx.address(tensor))
  for (const { strides } of tensors) {
    const sequence = strides.length - 3
    args.push(sequence > 0 ? (strides[0] as number) : 0, strides[sequence] as number, strides[sequence + 1] as number)
  }
}

/** Address of sink and its stride, 0 without one. */
export function pushSink(args: number[], ctx: KernelContext, { sink }: AttentionProblem): void {
  if (sink) args.push(ctx.address(sink), sink.strides[0] as number)
  else args.push(0, 0)
}

function pushBroadcast(args: number[], ctx: KernelContext, option: Broadcast | undefined, axes: number): void {
  args.push(option ? ctx.address(option.tensor) : 0)
  for (let axis = 0; axis < axes; axis++) args.push(option ? (option.strides[axis] as number) : 0)
}

function pushBlockMask(args: number[], ctx: KernelContext, mask: BlockMask | undefined): void {
  if (!mask) {
    args.push(0, 0, 0, 0, 0, 0, 0, 0)
    return
  }
  const { kvOffsets, kvBlocks, kvBits, qOffsets, qBlocks, bits, batchSize, nHeads, seqlenQ, seqlenK, blockM, blockN } = mask
  const parts = [kvOffsets, kvBlocks, kvBits, qOffsets, qBlocks, bits]
  const all = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  const [nMBlocks, nNBlocks] = [Math.ceil(seqlenQ / blockM), Math.ceil(seqlenK / blockN)]
  args.push(ctx.address(ctx.upload(all)), batchSize, nHeads, nMBlocks, nNBlocks, blockM, blockN, kvBlocks.length)
}
