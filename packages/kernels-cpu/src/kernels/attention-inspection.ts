import {
  type AttentionProblem,
  checkAttentionColumnSums,
  checkAttentionRows,
  checkAttentionTopK,
  type Kernels,
  numel,
  type Tensor,
} from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { problemArguments, pushHeads } from './attention-problem'

type InspectionKernel = 'attentionRows' | 'attentionColumnSums' | 'attentionTopK'

/** What attention looks at, in native/attention-inspection-inl.h, which says what the arguments are. */
export function attentionInspectionKernels(ctx: KernelContext): Pick<Kernels, InspectionKernel> {
  /** Arguments that the three have in common. */
  const common = (kernel: InspectionKernel, problem: AttentionProblem, q: Tensor, k: Tensor, lse: Tensor): number[] => {
    if (problem.dtype !== 'f32') ctx.unsupported(kernel, problem.dtype)
    const args = problemArguments(ctx, problem)
    pushHeads(args, ctx, q, k)
    args.push(ctx.address(ctx.contiguous(lse)))
    return args
  }
  return {
    attentionRows(q, k, lse, rows, options) {
      const problem = checkAttentionRows(ctx.backend, q, k, lse, rows, options)
      const args = common('attentionRows', problem, q, k, lse)
      const out = ctx.empty(problem.rowsShape)
      ctx.run('memory_zero', ctx.address(out), 4 * numel(problem.rowsShape))
      ctx.run('attention_rows', ...args, ctx.address(ctx.upload(problem.rows)), problem.rows.length, ctx.address(out))
      return out
    },

    attentionColumnSums(q, k, lse, options) {
      const problem = checkAttentionColumnSums(ctx.backend, q, k, lse, options)
      const args = common('attentionColumnSums', problem, q, k, lse)
      const out = ctx.empty(problem.sumsShape)
      ctx.run('attention_column_sums', ...args, ctx.address(out))
      return out
    },

    attentionTopK(q, k, lse, topK, options) {
      const problem = checkAttentionTopK(ctx.backend, q, k, lse, topK, options)
      const args = common('attentionTopK', problem, q, k, lse)
      const probabilities = ctx.empty(problem.topKShape)
      const indices = ctx.empty(problem.topKShape, 'i32')
      ctx.run('attention_top_k', ...args, topK, ctx.address(probabilities), ctx.address(indices))
      return { probabilities, indices }
    },
  }
}
