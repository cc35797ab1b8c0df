import {
  type AttentionBackwardProblem,
  type AttentionBackwardResult,
  type AttentionForwardProblem,
  checkAttentionBackward,
  checkAttentionForward,
  contiguousStrides,
  type Kernels,
  numel,
} from '@tilegrad/tensor'
import type { CpuTensor, KernelContext } from '../kernel-context'
import { problemArguments, pushHeads, pushSink } from './attention-problem'
import {
  attentionBackwardWorkspace,
  attentionForwardKernel,
  attentionForwardSplits,
  attentionForwardWorkspace,
  optionGradientsWorkspace,
  savesProbabilities,
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
      const probabilities = savesProbabilities(problem) ? ctx.empty(probabilitiesShape(problem)) : undefined
      const floats = attentionForwardWorkspace(problem)
      const args = problemArguments(ctx, problem)
      pushHeads(args, ctx, q, k, v)
      args.push(ctx.address(out), ctx.address(lse), probabilities ? ctx.address(probabilities) : 0)
      args.push(floats > 0 ? ctx.address(ctx.temporary([floats])) : 0)
      pushSink(args, ctx, problem)
      args.push(attentionForwardSplits(problem))
      ctx.run(attentionForwardKernel(problem), ...args)
      return probabilities ? { out, lse, probabilities } : { out, lse }
    },

    attentionBackward(dout, q, k, v, out, lse, options) {
      const problem = checkAttentionBackward(ctx.backend, dout, q, k, v, out, lse, options)
      if (problem.dtype !== 'f32') ctx.unsupported('attentionBackward', problem.dtype)
      const [dq, dk, dv] = [ctx.empty(q.shape), ctx.empty(k.shape), ctx.empty(v.shape)]
      const args = problemArguments(ctx, problem)
      // The gradient of softcap needs the scores.
      const probabilities = problem.softcap > 0 ? undefined : problem.probabilities
      args.push(ctx.address(ctx.contiguous(lse)), probabilities ? ctx.address(probabilities) : 0)
      pushHeads(args, ctx, dout, q, k, v, out)
      args.push(ctx.address(dq), ctx.address(dk), ctx.address(dv), ctx.address(ctx.temporary([attentionBackwardWorkspace(problem)])))
      const gradients = pushOptionGradients(args, ctx, problem)
      ctx.run('attention_backward', ...args)
      return { dq, dk, dv, ...gradients }
    },
  }
}

function probabilitiesShape({ batchSize, nHeads, seqlenQ, seqlenK }: AttentionForwardProblem): number[] {
  return [batchSize, nHeads, seqlenQ, seqlenK]
}

/** Results for the gradients that are wanted; pushes what OptionGradients of native/attention-option-gradients-inl.h reads. */
function pushOptionGradients(
  args: number[],
  ctx: KernelContext,
  problem: AttentionBackwardProblem,
): Pick<AttentionBackwardResult, 'dalibiSlopes' | 'dbias' | 'dsink'> {
  const { optionGradients: wanted, alibiSlopes, bias, sink } = problem
  const dalibiSlopes = alibiSlopes && wanted.includes('alibiSlopes') ? ctx.empty(alibiSlopes.tensor.shape) : undefined
  const dbias = bias && wanted.includes('bias') ? zeros(ctx, bias.tensor.shape) : undefined
  const dsink = sink && wanted.includes('sink') ? ctx.empty(sink.shape) : undefined
  args.push(dalibiSlopes ? ctx.address(dalibiSlopes) : 0, dalibiSlopes?.shape.length === 2 ? 1 : 0)
  args.push(dbias ? ctx.address(dbias) : 0, ...broadcastStrides(dbias))
  args.push(dsink ? ctx.address(dsink) : 0)
  pushSink(args, ctx, problem)
  const floats = optionGradientsWorkspace(problem)
  args.push(floats > 0 ? ctx.address(zeros(ctx, [floats], (shape) => ctx.temporary(shape))) : 0)
  return { ...(dalibiSlopes && { dalibiSlopes }), ...(dbias && { dbias }), ...(dsink && { dsink }) }
}

function zeros(ctx: KernelContext, shape: readonly number[], make = (of: readonly number[]) => ctx.empty(of)): CpuTensor {
  const tensor = make(shape)
  ctx.run('memory_zero', ctx.address(tensor), 4 * numel(shape))
  return tensor
}

/** Strides of dbias read as [B, Hq, Sq, Sk], 0 on the axes that it lacks. */
function broadcastStrides(dbias: CpuTensor | undefined): number[] {
  if (!dbias) return [0, 0, 0, 0]
  const { shape } = dbias
  const strides = contiguousStrides(shape).map((stride, axis) => ((shape[axis] as number) > 1 ? stride : 0))
  return [...new Array<number>(4 - shape.length).fill(0), ...strides]
}
