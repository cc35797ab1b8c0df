import {
  type AttentionBackwardProblem,
  type AttentionBackwardResult,
  checkAttentionBackward,
  checkAttentionForward,
  contiguousStrides,
  type Kernels,
  numel,
} from '@tilegrad/tensor'
import type { CpuTensor, KernelContext } from '../kernel-context'
import { headStrides, problemArguments, sinkArguments } from './attention-problem'
import {
  attentionBackwardWorkspace,
  attentionForwardKernel,
  attentionForwardSplits,
  attentionForwardWorkspace,
  optionGradientsWorkspace,
} from './attention-workspace'

type AttentionKernel = 'attentionForward' | 'attentionBackward'

/** Attention in native/attention-{forward,decode,backward}-inl.h, which say what the arguments are. */
export function attentionKernels(ctx: KernelContext): Pick<Kernels, AttentionKernel> {
  return {
    attentionForward(q, k, v, options) {
      const problem = checkAttentionForward(ctx.backend, q, k, v, options)
      if (problem.dtype !== 'f32') ctx.unsupported('attentionForward', problem.dtype)
      const out = ctx.empty(problem.outShape)
      const lse = ctx.empty(problem.lseShape)
      const floats = attentionForwardWorkspace(problem)
      const workspace = floats > 0 ? ctx.address(ctx.temporary([floats])) : 0
      ctx.run(
        attentionForwardKernel(problem),
        ...problemArguments(ctx, problem),
        ...[q, k, v].map((tensor) => ctx.address(tensor)),
        ...[q, k, v].flatMap(headStrides),
        ...[ctx.address(out), ctx.address(lse), workspace],
        ...sinkArguments(ctx, problem),
        attentionForwardSplits(problem),
      )
      return { out, lse }
    },

    attentionBackward(dout, q, k, v, out, lse, options) {
      const problem = checkAttentionBackward(ctx.backend, dout, q, k, v, out, lse, options)
      if (problem.dtype !== 'f32') ctx.unsupported('attentionBackward', problem.dtype)
      const [dq, dk, dv] = [ctx.empty(q.shape), ctx.empty(k.shape), ctx.empty(v.shape)]
      const workspace = ctx.temporary([attentionBackwardWorkspace(problem)])
      const gradients = optionGradients(ctx, problem)
      ctx.run(
        'attention_backward',
        ...problemArguments(ctx, problem),
        ...[ctx.contiguous(lse), dout, q, k, v, out].map((tensor) => ctx.address(tensor)),
        ...[dout, q, k, v, out].flatMap(headStrides),
        ...[dq, dk, dv, workspace].map((tensor) => ctx.address(tensor)),
        ...gradients.args,
      )
      return { dq, dk, dv, ...gradients.results }
    },
  }
}

/** Results for the gradients that are wanted, and what OptionGradients of native/attention-option-gradients-inl.h reads. */
function optionGradients(
  ctx: KernelContext,
  problem: AttentionBackwardProblem,
): { args: number[]; results: Pick<AttentionBackwardResult, 'dalibiSlopes' | 'dbias' | 'dsink'> } {
  const wanted = problem.optionGradients
  const dalibiSlopes = problem.alibiSlopes && wanted.includes('alibiSlopes') ? ctx.empty(problem.alibiSlopes.tensor.shape) : undefined
  const dbias = problem.bias && wanted.includes('bias') ? zeros(ctx, problem.bias.tensor.shape) : undefined
  const dsink = problem.sink && wanted.includes('sink') ? ctx.empty(problem.sink.shape) : undefined
  const floats = optionGradientsWorkspace(problem)
  const workspace = floats > 0 ? ctx.address(zeros(ctx, [floats], (shape) => ctx.temporary(shape))) : 0
  const address = (tensor: CpuTensor | undefined) => (tensor ? ctx.address(tensor) : 0)
  return {
    args: [
      ...[address(dalibiSlopes), Number(dalibiSlopes?.shape.length === 2)],
      ...[address(dbias), ...broadcastStrides(dbias)],
      ...[address(dsink), ...sinkArguments(ctx, problem)],
      workspace,
    ],
    results: { ...(dalibiSlopes && { dalibiSlopes }), ...(dbias && { dbias }), ...(dsink && { dsink }) },
  }
}

function zeros(ctx: KernelContext, shape: readonly number[], make = (of: readonly number[]) => ctx.empty(of)): CpuTensor {
  const tensor = make(shape)
  ctx.run('memory_zero', ctx.address(tensor), 4 * numel(shape))
  return tensor
}

/** Strides of dbias read as [B, Hq, Sq, Sk], 0 on the axes that it lacks. */
function broadcastStrides(dbias: CpuTensor | undefined): number[] {
  const shape = dbias?.shape ?? []
  const strides = contiguousStrides(shape).map((stride, axis) => ((shape[axis] as number) > 1 ? stride : 0))
  return [...new Array<number>(4 - shape.length).fill(0), ...strides]
}
