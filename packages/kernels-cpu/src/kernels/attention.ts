import { type AttentionProblem, checkAttentionBackward, checkAttentionForward, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import {
  attentionBackwardWorkspace,
  attentionForwardKernel,
  attentionForwardSplits,
  attentionForwardWorkspace,
} from './attention-workspace'

/** Attention in native/attention-{forward,decode,backward}-inl.h, which say what the arguments are. */
export function attentionKernels(ctx: KernelContext): Pick<Kernels, 'attentionForward' | 'attentionBackward'> {
  return {
    attentionForward(q, k, v, options = {}) {
      const problem = checkAttentionForward(ctx.backend, q, k, v, options)
      if (problem.dtype !== 'f32') ctx.unsupported('attentionForward', problem.dtype)
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

function scoreOptions({ softmaxScale, softcap, diagonalMin, diagonalMax }: AttentionProblem): number[] {
  return [softmaxScale, softcap, Math.max(diagonalMin, -unlimited), Math.min(diagonalMax, unlimited)]
}
