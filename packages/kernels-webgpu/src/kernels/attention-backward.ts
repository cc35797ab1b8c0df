import { type AttentionBackwardProblem, checkAttentionBackward, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import optionsText from '../shaders/attention-backward-options.wgsl'
import preprocessText from '../shaders/attention-backward-preprocess.wgsl'
import type { WebGPUTensor } from '../tensor'
import { sumByGroups } from './attention-backward-groups'
import type { Packed } from './attention-backward-packed'
import { type BackwardPlan, backwardPlan } from './attention-backward-plan'
import { matrixBackward, sumByMatrices } from './attention-backward-subgroup-matrix'
import { sumBySubgroups } from './attention-backward-subgroups'
import { biasGradients, sumByTiles } from './attention-backward-tiles'
import { packRows, unpackRows } from './attention-pack-rows'
import { headsOf, type SharedBindings, sharedBindings } from './attention-problem'

export const attentionBackwardPreprocess = defineShader(
  'attention-backward-preprocess',
  preprocessText,
  combinations({ Element: ['f32', 'f16'] }),
)
export const attentionBackwardOptions = defineShader('attention-backward-options', optionsText, [{}])

/** Gradients of attention in shaders/attention-backward-*.wgsl: no atomics, sums in a fixed order. */
export function attentionBackwardKernels(ctx: KernelContext): Pick<Kernels, 'attentionBackward'> {
  return {
    attentionBackward(dout, q, k, v, out, lse, options = {}) {
      const problem = checkAttentionBackward(ctx.backend, dout, q, k, v, out, lse, options)
      ctx.element('attentionBackward', problem.dtype)
      const [dq, dk, dv] = [q, k, v].map(({ shape, dtype }) => ctx.empty(shape, dtype)) as [WebGPUTensor, WebGPUTensor, WebGPUTensor]
      const dalibiSlopes = problem.optionGradients.includes('alibiSlopes') ? ctx.empty(options.alibiSlopes?.shape ?? []) : undefined
      const dsink = problem.optionGradients.includes('sink') ? ctx.empty([problem.nHeads]) : undefined
      const dbias = problem.optionGradients.includes('bias') ? ctx.empty(options.bias?.shape ?? []) : undefined
      const call = { problem, dout, q, k, v, out, lse, dq, dk, dv, dalibiSlopes, dbias, dsink }
      if (problem.totalQ === 0 || problem.totalK === 0) clearAll(ctx, call)
      else runBackward(ctx, call)
      return { dq, dk, dv, ...(dalibiSlopes && { dalibiSlopes }), ...(dbias && { dbias }), ...(dsink && { dsink }) }
    },
  }
}

interface Call {
  readonly problem: AttentionBackwardProblem
  readonly dout: Tensor
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  readonly out: Tensor
  readonly lse: Tensor
  readonly dq: WebGPUTensor
  readonly dk: WebGPUTensor
  readonly dv: WebGPUTensor
  readonly dalibiSlopes: WebGPUTensor | undefined
  readonly dbias: WebGPUTensor | undefined
  readonly dsink: WebGPUTensor | undefined
}

/** Without a pair every gradient is 0: out is 0 in rows that see nothing, and the sink's share has no value. */
function clearAll(ctx: KernelContext, { dq, dk, dv, dalibiSlopes, dbias, dsink }: Call): void {
  for (const tensor of [dq, dk, dv, dalibiSlopes, dbias, dsink]) if (tensor) ctx.clear(tensor)
}

function runBackward(ctx: KernelContext, call: Call): void {
  const { problem, dout, q, k, v, dq, dk, dv, dbias } = call
  const { nHeads, nHeadsK, seqlenQ, seqlenK, totalQ, totalK, headDim, headDimV, softmaxScale } = problem
  const plan = backwardPlan(ctx, headDim, headDimV)
  const { rowVectors } = plan
  const packedQ = ctx.temporary([nHeads, totalQ, 2 * rowVectors + 1, 4])
  const packedK = ctx.temporary([nHeadsK, totalK, 2 * rowVectors, 4])
  const dqSums = ctx.temporary([nHeads, totalQ, rowVectors, 4])
  const dkdvSums = ctx.temporary([nHeadsK, totalK, 2 * rowVectors, 4])
  const queries = { rows: totalQ, seqlen: seqlenQ, vectors: rowVectors }
  const keys = { rows: totalK, seqlen: seqlenK, vectors: rowVectors }
  packRows(ctx, q, packedQ, { ...queries, firstVector: 0 })
  packRows(ctx, dout, packedQ, { ...queries, firstVector: rowVectors })
  packRows(ctx, k, packedK, { ...keys, firstVector: 0 })
  packRows(ctx, v, packedK, { ...keys, firstVector: rowVectors })
  const shared = sharedBindings(ctx, problem)
  const packed: Packed = { problem, shared, packedQ, packedK, dqSums, dkdvSums, rowVectors }
  const layout = { headVectors: totalQ * (2 * rowVectors + 1), rowVectors: 2 * rowVectors + 1, firstVector: 2 * rowVectors }
  preprocess(ctx, call, shared, packedQ, layout)
  const dslopes = sumGradients(ctx, packed, plan)
  // S carries the softmax scale.
  unpackRows(ctx, dqSums, dq, { ...queries, firstVector: 0 }, softmaxScale)
  unpackRows(ctx, dkdvSums, dk, { ...keys, firstVector: 0 }, softmaxScale)
  unpackRows(ctx, dkdvSums, dv, { ...keys, firstVector: rowVectors }, 1)
  if (dbias) biasGradients(ctx, packed, dbias)
  optionGradients(ctx, call, packedQ, layout, dslopes)
}

/** dQ, dK and dV in f32, by what the device is best at. @returns [B, Hq, blocks], shares of the gradients of slopes */
function sumGradients(ctx: KernelContext, packed: Packed, plan: BackwardPlan): WebGPUTensor {
  const matrix = ctx.attentionTiles.backward === undefined ? matrixBackward(ctx, packed.problem, plan.rowVectors) : undefined
  if (matrix) return sumByMatrices(ctx, packed, matrix)
  if (plan.variant === 'subgroups') return sumByGroups(ctx, packed, plan.tile)
  return plan.variant === 'software' ? sumBySubgroups(ctx, packed, plan.tile) : sumByTiles(ctx, packed, plan.tile)
}

/** Where lse, delta, slope and sink of the rows lie in packedQ, in vectors of four: from head to head, from row to row, and those of the first row. */
export interface StatisticsLayout {
  readonly headVectors: number
  readonly rowVectors: number
  readonly firstVector: number
}

/** Writes lse, delta, slope and sink of every query row into packedQ. */
export function preprocess(
  ctx: KernelContext,
  { problem, dout, out, lse }: Call,
  { params, heads, tables }: SharedBindings,
  packedQ: WebGPUTensor,
  layout: StatisticsLayout,
): void {
  const { totalQ, seqlenQ, nHeads, headDimV, batchSize, cuSeqlensQ, dtype } = problem
  const [doutHeads, outHeads, lseView] = [headsOf(ctx, dout), headsOf(ctx, out), ctx.view(ctx.contiguous(lse))]
  const [x, y] = ctx.grid(Math.ceil(totalQ / 64))
  ctx.run({
    shader: attentionBackwardPreprocess,
    entry: 'attentionBackwardPreprocess',
    constants: { Element: dtype },
    bindings: { dout: doutHeads, out: outHeads, lse: lseView, heads, cuSeqlens: tables, packedQ },
    params: {
      totalQ,
      seqlenQ: cuSeqlensQ ? totalQ : seqlenQ,
      nHeads,
      headDimV,
      startDout: doutHeads.start,
      batchStrideDout: doutHeads.batchStride,
      rowStrideDout: doutHeads.rowStride,
      headStrideDout: doutHeads.headStride,
      startOut: outHeads.start,
      batchStrideOut: outHeads.batchStride,
      rowStrideOut: outHeads.rowStride,
      headStrideOut: outHeads.headStride,
      startLse: lseView.start,
      ...layout,
      hasHeads: params.hasHeads as number,
      firstSink: batchSize * nHeads,
      sequences: cuSeqlensQ ? batchSize : 0,
      grid: x,
    },
    workgroups: [x, y, nHeads],
  })
}

export function optionGradients(
  ctx: KernelContext,
  { problem, dalibiSlopes, dsink }: Call,
  packedQ: WebGPUTensor,
  layout: StatisticsLayout,
  dslopes: WebGPUTensor,
): void {
  const { batchSize, nHeads, totalQ } = problem
  const batchOfSlopes = dalibiSlopes?.shape.length === 2 ? batchSize : 1
  const params = {
    batchOfSlopes,
    batchSize,
    nHeads,
    nParts: dslopes.shape[2] as number,
    totalQ,
    ...layout,
  }
  const shader = attentionBackwardOptions
  if (dalibiSlopes) {
    const workgroups = [Math.ceil((batchOfSlopes * nHeads) / 64), 1, 1] as const
    ctx.run({ shader, entry: 'attentionBackwardSlopes', constants: {}, bindings: { dslopes, dalibiSlopes }, params, workgroups })
  }
  if (dsink) {
    ctx.run({ shader, entry: 'attentionBackwardSink', constants: {}, bindings: { packedQ, dsink }, params, workgroups: [nHeads, 1, 1] })
  }
}
