import {
  type AttentionOptions,
  type AttentionProblem,
  checkAttentionBackward,
  checkAttentionColumnSums,
  checkAttentionForward,
  checkAttentionRows,
  checkAttentionTopK,
  type Kernels,
  sequenceOf,
  type Tensor,
} from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import {
  attentionBackwardWorkspace,
  attentionForwardKernel,
  attentionForwardSplits,
  attentionForwardWorkspace,
} from './attention-workspace'

type AttentionKernel = 'attentionForward' | 'attentionBackward' | 'attentionRows' | 'attentionColumnSums' | 'attentionTopK'

/** Attention in native/attention-{forward,decode,backward}-inl.h, which say what the arguments are. */
export function attentionKernels(ctx: KernelContext): Pick<Kernels, AttentionKernel> {
  return {
    attentionForward(q, k, v, options = {}) {
      const problem = checkAttentionForward(ctx.backend, q, k, v, options)
      if (problem.dtype !== 'f32') ctx.unsupported('attentionForward', problem.dtype)
      refuseOptions(ctx, 'attentionForward', options)
      const out = ctx.empty(problem.outShape)
      const lse = ctx.empty(problem.lseShape)
      const floats = attentionForwardWorkspace(problem)
      const workspace = floats > 0 ? ctx.address(ctx.temporary([floats])) : 0
      ctx.run(
        attentionForwardKernel(problem),
        ctx.address(q),
        ctx.address(k),
        ctx.address(v),
        ctx.address(out),
        ctx.address(lse),
        workspace,
        ...sizes(problem),
        ...headStrides(q),
        ...headStrides(k),
        ...headStrides(v),
        ...scoreOptions(problem),
        attentionForwardSplits(problem),
      )
      return { out, lse }
    },

    attentionBackward(dout, q, k, v, out, lse, options = {}) {
      const problem = checkAttentionBackward(ctx.backend, dout, q, k, v, out, lse, options)
      if (problem.dtype !== 'f32') ctx.unsupported('attentionBackward', problem.dtype)
      refuseOptions(ctx, 'attentionBackward', options)
      const dq = ctx.empty(q.shape)
      const dk = ctx.empty(k.shape)
      const dv = ctx.empty(v.shape)
      const workspace = ctx.temporary([attentionBackwardWorkspace(problem)])
      ctx.run(
        'attention_backward',
        ...[dout, q, k, v, out, ctx.contiguous(lse), dq, dk, dv, workspace].map((tensor) => ctx.address(tensor)),
        ...sizes(problem),
        ...[dout, q, k, v, out].flatMap(headStrides),
        ...scoreOptions(problem),
      )
      return { dq, dk, dv }
    },

    attentionRows: (...args) => ctx.unsupported('attentionRows', checkAttentionRows(ctx.backend, ...args).dtype),
    attentionColumnSums: (...args) => ctx.unsupported('attentionColumnSums', checkAttentionColumnSums(ctx.backend, ...args).dtype),
    attentionTopK: (...args) => ctx.unsupported('attentionTopK', checkAttentionTopK(ctx.backend, ...args).dtype),
  }
}

/** Options of the contract that the kernels do not have yet. */
function refuseOptions(ctx: KernelContext, kernel: string, options: AttentionOptions): void {
  for (const name of ['alibiSlopes', 'bias', 'sink', 'dropoutP', 'cuSeqlensQ', 'blockMask'] as const) {
    if (options[name]) ctx.unsupported(kernel, name)
  }
}

function sizes({ batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, headDim, headDimV }: AttentionProblem): number[] {
  return [batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, headDim, headDimV]
}

/** Strides of [batch, sequence, head, dim] in elements, without the last, which is 1. */
function headStrides({ strides }: Tensor): number[] {
  return strides.slice(0, 3)
}

/** Beyond any sequence and small enough to add sequence lengths to: an unlimited diagonal. */
const unlimited = 2 ** 40

function scoreOptions(problem: AttentionProblem): number[] {
  const { softmaxScale, softcap } = problem
  const { diagonalMin, diagonalMax } = sequenceOf(problem, 0)
  return [softmaxScale, softcap, Math.max(diagonalMin, -unlimited), Math.min(diagonalMax, unlimited)]
}
