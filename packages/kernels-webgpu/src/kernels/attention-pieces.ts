import {
  type AttentionBackwardOptions,
  type AttentionOptions,
  type AttentionProblem,
  type BlockMask,
  bytesPerElement,
  checkAttentionBackward,
  checkAttentionForward,
  type Kernels,
  numel,
  type Tensor,
} from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { backwardPlan } from './attention-backward-plan'
import { asPartOf } from './attention-problem'
import { part } from './pieces'

type Attention = Pick<Kernels, 'attentionForward' | 'attentionBackward'>

/**
 * Attention whose tensors are too large to be bound, or the buffers that its kernels pack them into: half of the sequences at a time, and of a
 * sequence half of the heads, as calls of their own. What is larger still is refused by name.
 */
export function attentionInPieces(ctx: KernelContext, whole: Attention): Attention {
  return {
    attentionForward(q, k, v, options = {}) {
      const problem = checkAttentionForward(ctx.backend, q, k, v, options)
      const cut = cutOf(ctx, problem, [q, k, v])
      if (!cut) return whole.attentionForward(q, k, v, options)
      const [out, lse] = [ctx.empty(problem.outShape, problem.dtype), ctx.empty(problem.lseShape)]
      for (const half of cut) {
        const [qs, ks, vs] = [half.queries(q), half.keys(k), half.keys(v)].map((tensor) => bindable(ctx, tensor)) as [
          Tensor,
          Tensor,
          Tensor,
        ]
        const result = asPartOf(problem, half.firstBatch, half.firstHead, () =>
          ctx.backend.kernels.attentionForward(qs, ks, vs, half.options(options)),
        )
        store(ctx, result.out, half.queries(out))
        store(ctx, result.lse, half.lse(lse))
      }
      return { out, lse }
    },

    attentionBackward(dout, q, k, v, out, lse, options = {}) {
      const problem = checkAttentionBackward(ctx.backend, dout, q, k, v, out, lse, options)
      const cut = cutOf(ctx, problem, [dout, q, k, v, out])
      if (!cut) return whole.attentionBackward(dout, q, k, v, out, lse, options)
      // No kernel here reads saved probabilities.
      const { probabilities: _, ...scores } = options
      const [dq, dk, dv] = [ctx.empty(q.shape, q.dtype), ctx.empty(k.shape, k.dtype), ctx.empty(v.shape, v.dtype)]
      const wanted = (name: (typeof problem.optionGradients)[number]) =>
        problem.optionGradients.includes(name) ? ctx.empty(options[name]?.shape ?? []) : undefined
      const [dalibiSlopes, dbias, dsink] = [wanted('alibiSlopes'), wanted('bias'), wanted('sink')]
      for (const half of cut) {
        const given: AttentionBackwardOptions = { ...half.options(scores), optionGradients: problem.optionGradients }
        const slices = [half.queries(dout), half.queries(q), half.keys(k), half.keys(v), half.queries(out), half.lse(lse)]
        const inputs = slices.map((tensor) => bindable(ctx, tensor)) as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
        const result = asPartOf(problem, half.firstBatch, half.firstHead, () => ctx.backend.kernels.attentionBackward(...inputs, given))
        store(ctx, result.dq, half.queries(dq))
        store(ctx, result.dk, half.keys(dk))
        store(ctx, result.dv, half.keys(dv))
        if (dalibiSlopes) gather(ctx, result.dalibiSlopes, dalibiSlopes, half.slopes, isFirst(half))
        if (dbias) gather(ctx, result.dbias, dbias, half.bias, isFirst(half))
        if (dsink) gather(ctx, result.dsink, dsink, half.sink, isFirst(half))
      }
      return { dq, dk, dv, ...(dalibiSlopes && { dalibiSlopes }), ...(dbias && { dbias }), ...(dsink && { dsink }) }
    },
  }
}

type Slice = (tensor: Tensor) => Tensor

/** How a call's tensors look to one half of it. */
interface Half {
  readonly firstBatch: number
  /** Of queries. */
  readonly firstHead: number
  /** q, out, dout, dq; k, v, dk, dv; lse; and options, as they are where they are the same for both halves. */
  readonly queries: Slice
  readonly keys: Slice
  readonly lse: Slice
  readonly slopes: Slice
  readonly bias: Slice
  readonly sink: Slice
  options(options: AttentionOptions): AttentionOptions
}

function isFirst({ firstBatch, firstHead }: Half): boolean {
  return firstBatch === 0 && firstHead === 0
}

/** The two halves, or undefined where all can be bound or nothing can be cut. */
function cutOf(ctx: KernelContext, problem: AttentionProblem, tensors: readonly Tensor[]): readonly Half[] | undefined {
  const { batchSize, nHeadsK, bias } = problem
  const options = bias ? [bias.tensor] : []
  if ([...tensors, ...options].every((tensor) => ctx.fits(tensor)) && fitsPacked(ctx, problem)) return undefined
  if (batchSize > 1) {
    const middle = Math.ceil(batchSize / 2)
    return [sequences(ctx, problem, 0, middle), sequences(ctx, problem, middle, batchSize)]
  }
  if (nHeadsK > 1) {
    const middle = Math.ceil(nHeadsK / 2)
    return [heads(ctx, problem, 0, middle), heads(ctx, problem, middle, nHeadsK)]
  }
  return undefined
}

/** Whether any layout in which kernels keep their operands can be bound: rows of q and dout, or of k and v, in fours of f32, with three statistics each. */
function fitsPacked(ctx: KernelContext, problem: AttentionProblem): boolean {
  const { totalQ, totalK, nHeads, nHeadsK, headDim, headDimV } = problem
  const { variant, rowVectors } = backwardPlan(ctx, headDim, headDimV)
  if (variant === 'software' && Math.max(totalQ * nHeads, totalK * nHeadsK) * rowVectors > ctx.mostTexels) return false
  const row = 16 * (2 * rowVectors + 1)
  return Math.max(totalQ * nHeads, totalK * nHeadsK) * row <= ctx.limits.maxStorageBufferBindingSize
}

function sequences(ctx: KernelContext, { cuSeqlensQ, cuSeqlensK }: AttentionProblem, from: number, to: number): Half {
  const batch: Slice = (tensor) => part(ctx, tensor, 0, from, to)
  const rows =
    (cuSeqlens: Int32Array, axis: number): Slice =>
    (tensor) =>
      part(ctx, tensor, axis, cuSeqlens[from] as number, cuSeqlens[to] as number)
  const lengths = cuSeqlensQ && cuSeqlensK ? { cuSeqlensQ: lengthsOf(cuSeqlensQ), cuSeqlensK: lengthsOf(cuSeqlensK) } : {}
  const slopes: Slice = (tensor) => (tensor.shape.length === 2 ? batch(tensor) : tensor)
  const bias: Slice = (tensor) => (tensor.shape.length === 4 && tensor.shape[0] !== 1 ? batch(tensor) : tensor)
  const mask = (blockMask: BlockMask) => (blockMask.batchSize === 1 ? blockMask : maskOf(blockMask, from, to, 0, blockMask.nHeads))
  return {
    firstBatch: from,
    firstHead: 0,
    queries: cuSeqlensQ ? rows(cuSeqlensQ, 0) : batch,
    keys: cuSeqlensK ? rows(cuSeqlensK, 0) : batch,
    lse: cuSeqlensQ ? rows(cuSeqlensQ, 1) : batch,
    slopes,
    bias,
    sink: same,
    options: (options) => ({ ...cutOptions(options, slopes, bias, same, mask), ...lengths }),
  }

  function lengthsOf(cuSeqlens: Int32Array): Int32Array {
    return cuSeqlens.slice(from, to + 1).map((end) => end - (cuSeqlens[from] as number))
  }
}

/** Key heads from … to − 1 of the one sequence, with their query heads. */
function heads(ctx: KernelContext, { nHeads, nHeadsK }: AttentionProblem, from: number, to: number): Half {
  const groupSize = nHeads / nHeadsK
  const [fromQ, toQ] = [from * groupSize, to * groupSize]
  const of =
    (begin: number, end: number): Slice =>
    (tensor) =>
      part(ctx, tensor, -2, begin, end)
  const slopes: Slice = (tensor) => part(ctx, tensor, -1, fromQ, toQ)
  const bias: Slice = (tensor) => (tensor.shape.length >= 3 && tensor.shape.at(-3) !== 1 ? part(ctx, tensor, -3, fromQ, toQ) : tensor)
  const mask = (blockMask: BlockMask) => (blockMask.nHeads === 1 ? blockMask : maskOf(blockMask, 0, 1, fromQ, toQ))
  return {
    firstBatch: 0,
    firstHead: fromQ,
    queries: of(fromQ, toQ),
    keys: of(from, to),
    lse: of(fromQ, toQ),
    slopes,
    bias,
    sink: slopes,
    options: (options) => cutOptions(options, slopes, bias, slopes, mask),
  }
}

const same: Slice = (tensor) => tensor

function cutOptions(
  { alibiSlopes, bias, sink, blockMask, ...options }: AttentionOptions,
  slopesOf: Slice,
  biasOf: Slice,
  sinkOf: Slice,
  maskOf: (mask: BlockMask) => BlockMask,
): AttentionOptions {
  return {
    ...options,
    ...(alibiSlopes && { alibiSlopes: slopesOf(alibiSlopes) }),
    ...(bias && { bias: biasOf(bias) }),
    ...(sink && { sink: sinkOf(sink) }),
    ...(blockMask && { blockMask: maskOf(blockMask) }),
  }
}

/** The rows of tiles of some batch entries and, of one, of some heads. */
function maskOf(mask: BlockMask, fromBatch: number, toBatch: number, fromHead: number, toHead: number): BlockMask {
  const [first, last] = [fromBatch * mask.nHeads + fromHead, (toBatch - 1) * mask.nHeads + toHead]
  const rows = (offsets: Int32Array, blocks: Int32Array, bits: Int32Array, blocksOfHead: number) => {
    const own = offsets.subarray(first * blocksOfHead, last * blocksOfHead + 1)
    const [begin, end] = [own[0] as number, own.at(-1) as number]
    return [own.map((offset) => offset - begin), blocks.subarray(begin, end), bits.subarray(begin, end)] as const
  }
  const [kvOffsets, kvBlocks, kvBits] = rows(mask.kvOffsets, mask.kvBlocks, mask.kvBits, Math.ceil(mask.seqlenQ / mask.blockM))
  const [qOffsets, qBlocks, qBits] = rows(mask.qOffsets, mask.qBlocks, mask.qBits, Math.ceil(mask.seqlenK / mask.blockN))
  const size = { batchSize: toBatch - fromBatch, nHeads: toHead - fromHead }
  return { ...mask, ...size, kvOffsets, kvBlocks, kvBits, qOffsets, qBlocks, qBits }
}

/** Heads reach over the rows of all heads: once they are few enough they are copied. */
function bindable(ctx: KernelContext, tensor: Tensor): Tensor {
  const bytes = numel(tensor.shape) * bytesPerElement[tensor.dtype]
  return ctx.fits(tensor) || bytes > ctx.limits.maxStorageBufferBindingSize ? tensor : ctx.contiguous(tensor)
}

/** Moves a result to its place. */
function store(ctx: KernelContext, result: Tensor, place: Tensor): void {
  ctx.backend.kernels.copy(result, { out: place })
  result.dispose()
}

/** The same of a gradient, to which both halves may contribute. */
function gather(ctx: KernelContext, gradient: Tensor | undefined, target: Tensor, slice: Slice, first: boolean): void {
  if (!gradient) return
  const place = slice(target)
  if (place !== target || first) {
    store(ctx, gradient, place)
    return
  }
  ctx.backend.kernels.add(target, gradient, { out: target })
  gradient.dispose()
}
