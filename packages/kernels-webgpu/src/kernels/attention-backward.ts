import { type AttentionBackwardProblem, checkAttentionBackward, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import optionsText from '../shaders/attention-backward-options.wgsl'
import preprocessText from '../shaders/attention-backward-preprocess.wgsl'
import type { WebGPUTensor } from '../tensor'
import type { Packed, PackedOperands } from './attention-backward-packed'
import { type BackwardPlan, backwardPlan } from './attention-backward-plan'
import { sumInSoftware } from './attention-backward-software'
import { matrixBackward, sumByMatrices } from './attention-backward-subgroup-matrix'
import { sumByGroups } from './attention-backward-subgroups'
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

/** A call and its results. */
export interface Call {
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
  const { problem } = call
  const shared = sharedBindings(ctx, problem)
  const plan = backwardPlan(ctx, problem.headDim, problem.headDimV)
  const matrix = ctx.attentionTiles.backward === undefined ? matrixBackward(ctx, problem, plan.rowVectors) : undefined
  if (matrix) runPacked(ctx, call, shared, plan.rowVectors, (packed) => sumByMatrices(ctx, packed, matrix))
  else if (plan.variant === 'software') runInPlace(ctx, call, shared, plan)
  else if (plan.variant === 'subgroups') runPacked(ctx, call, shared, plan.rowVectors, (packed) => sumByGroups(ctx, packed, plan.tile))
  else runPacked(ctx, call, shared, plan.rowVectors, (packed) => sumByTiles(ctx, packed, plan.tile))
}

/** Kernels read textures of q, k, v and dout, and sum gradients where they end up, as far as dtypes and head dims allow it. */
function runInPlace(ctx: KernelContext, call: Call, shared: SharedBindings, { tile, rowVectors }: BackwardPlan & { variant: 'software' }) {
  const { nHeads, totalQ } = call.problem
  const { dbias } = call
  if (dbias) ctx.scoped(() => biasGradients(ctx, packOperands(ctx, call, shared, rowVectors), dbias))
  const statistics = ctx.temporary([nHeads, totalQ, 4])
  const layout = { headVectors: totalQ, rowVectors: 1, firstVector: 0 }
  preprocess(ctx, call, shared, statistics, layout)
  const dslopes = sumInSoftware(ctx, call, shared, statistics, tile)
  optionGradients(ctx, call, statistics, layout, dslopes)
}

/**
 * Kernels read copies in packed rows, and sum gradients in such rows.
 *
 * @param sum enqueues dQ, dK and dV, and returns what it has of the gradients of slopes: [B, Hq, parts]
 */
function runPacked(
  ctx: KernelContext,
  call: Call,
  shared: SharedBindings,
  rowVectors: number,
  sum: (packed: Packed) => WebGPUTensor,
): void {
  const { problem, dq, dk, dv, dbias } = call
  const { nHeads, nHeadsK, seqlenQ, seqlenK, totalQ, totalK, softmaxScale } = problem
  const operands = packOperands(ctx, call, shared, rowVectors)
  const dqSums = ctx.temporary([nHeads, totalQ, rowVectors, 4])
  const dkdvSums = ctx.temporary([nHeadsK, totalK, 2 * rowVectors, 4])
  const dslopes = sum({ ...operands, dqSums, dkdvSums })
  const queries = { rows: totalQ, seqlen: seqlenQ, vectors: rowVectors }
  const keys = { rows: totalK, seqlen: seqlenK, vectors: rowVectors }
  // S carries the softmax scale.
  unpackRows(ctx, dqSums, dq, { ...queries, firstVector: 0 }, softmaxScale)
  unpackRows(ctx, dkdvSums, dk, { ...keys, firstVector: 0 }, softmaxScale)
  unpackRows(ctx, dkdvSums, dv, { ...keys, firstVector: rowVectors }, 1)
  if (dbias) biasGradients(ctx, operands, dbias)
  optionGradients(ctx, call, operands.packedQ, packedLayout(operands), dslopes)
}

/** q, dout and statistics, and k and v, in packed rows. */
function packOperands(ctx: KernelContext, call: Call, shared: SharedBindings, rowVectors: number): PackedOperands {
  const { problem, dout, q, k, v } = call
  const { nHeads, nHeadsK, seqlenQ, seqlenK, totalQ, totalK } = problem
  const packedQ = ctx.temporary([nHeads, totalQ, 2 * rowVectors + 1, 4])
  const packedK = ctx.temporary([nHeadsK, totalK, 2 * rowVectors, 4])
  const queries = { rows: totalQ, seqlen: seqlenQ, vectors: rowVectors }
  const keys = { rows: totalK, seqlen: seqlenK, vectors: rowVectors }
  packRows(ctx, q, packedQ, { ...queries, firstVector: 0 })
  packRows(ctx, dout, packedQ, { ...queries, firstVector: rowVectors })
  packRows(ctx, k, packedK, { ...keys, firstVector: 0 })
  packRows(ctx, v, packedK, { ...keys, firstVector: rowVectors })
  const operands = { problem, shared, packedQ, packedK, rowVectors }
  preprocess(ctx, call, shared, packedQ, packedLayout(operands))
  return operands
}

function packedLayout({ problem: { totalQ }, rowVectors }: PackedOperands): StatisticsLayout {
  return { headVectors: totalQ * (2 * rowVectors + 1), rowVectors: 2 * rowVectors + 1, firstVector: 2 * rowVectors }
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
