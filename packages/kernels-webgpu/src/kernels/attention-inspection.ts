import {
  type AttentionProblem,
  checkAttentionColumnSums,
  checkAttentionRows,
  checkAttentionTopK,
  type Kernels,
  numel,
  type Tensor,
} from '@tilegrad/tensor'
import type { KernelContext, Run } from '../kernel-context'
import { defineShader } from '../shader'
import inspectionText from '../shaders/attention-inspection.wgsl'
import rowsText from '../shaders/attention-rows.wgsl'
import { attentionInspectionLibraries } from '../shaders/libraries'
import { headParams, headsOf, sharedBindings } from './attention-problem'

const variants = (['f32', 'f16'] as const).map((Element) => ({ Element, GENERAL: true }))
export const attentionRows = defineShader('attention-rows', rowsText, variants, attentionInspectionLibraries)
export const attentionInspection = defineShader('attention-inspection', inspectionText, variants, attentionInspectionLibraries)

/** Probabilities without an Sq × Sk array, in shaders/attention-rows.wgsl and attention-inspection.wgsl. */
export function attentionInspectionKernels(ctx: KernelContext): Pick<Kernels, 'attentionRows' | 'attentionColumnSums' | 'attentionTopK'> {
  return {
    attentionRows(q, k, lse, rows, options = {}) {
      const problem = checkAttentionRows(ctx.backend, q, k, lse, rows, options)
      ctx.element('attentionRows', problem.dtype)
      const probabilities = ctx.empty(problem.rowsShape)
      if (numel(problem.rowsShape) === 0) return probabilities
      const list = ctx.hold(ctx.backend.tensor(problem.rows, [problem.rows.length], 'i32'))
      const [keys, count] = [Math.ceil(problem.seqlenK / 64), problem.rows.length]
      inspect(ctx, attentionRows, 'attentionRows', problem, { q, k, lse }, { rows: list, probabilities }, [keys, count], count)
      return probabilities
    },

    attentionColumnSums(q, k, lse, options = {}) {
      const problem = checkAttentionColumnSums(ctx.backend, q, k, lse, options)
      ctx.element('attentionColumnSums', problem.dtype)
      const result = ctx.empty(problem.sumsShape)
      if (problem.totalQ === 0) ctx.clear(result)
      else if (problem.totalK > 0) {
        const keys = Math.ceil(problem.seqlenK / 64)
        inspect(ctx, attentionInspection, 'attentionColumnSums', problem, { q, k, lse }, { result }, [keys, 1], 0)
      }
      return result
    },

    attentionTopK(q, k, lse, topK, options = {}) {
      const problem = checkAttentionTopK(ctx.backend, q, k, lse, topK, options)
      ctx.element('attentionTopK', problem.dtype)
      const [probabilities, indices] = [ctx.empty(problem.topKShape), ctx.empty(problem.topKShape, 'i32')]
      const rows = Math.ceil(problem.seqlenQ / 64)
      if (problem.totalQ > 0) {
        const results = { result: probabilities, indices }
        inspect(ctx, attentionInspection, 'attentionTopK', problem, { q, k, lse }, results, [rows, 1], topK)
      }
      return { probabilities, indices }
    },
  }
}

/** @param count goes as `nMBlocks`: the number of rows, or topK */
function inspect(
  ctx: KernelContext,
  shader: Run['shader'],
  entry: string,
  problem: AttentionProblem,
  { q, k, lse }: { readonly q: Tensor; readonly k: Tensor; readonly lse: Tensor },
  results: Run['bindings'],
  [x, y]: readonly [number, number],
  count: number,
): void {
  const { params, bias, heads, tables } = sharedBindings(ctx, problem)
  const [qHeads, kHeads, lses] = [headsOf(ctx, q), headsOf(ctx, k), ctx.view(ctx.contiguous(lse))]
  ctx.run({
    shader,
    entry,
    constants: { Element: problem.dtype, GENERAL: true },
    bindings: { q: qHeads, k: kHeads, lse: lses, bias, heads, tables, ...results },
    params: {
      ...params,
      ...headParams('Q', qHeads),
      ...headParams('K', kHeads),
      ...headParams('V', undefined),
      startV: lses.start,
      planes: 0,
      planesV: 0,
      firstBatch: 0,
      nMBlocks: count,
      nSplits: 1,
      workgroup: 64,
    },
    workgroups: [x, y, problem.batchSize * problem.nHeads],
  })
}
