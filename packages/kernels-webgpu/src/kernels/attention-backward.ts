import { type AttentionBackwardProblem, checkAttentionBackward, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import dbiasText from '../shaders/attention-backward-dbias.wgsl'
import dkdvText from '../shaders/attention-backward-dkdv.wgsl'
import dqText from '../shaders/attention-backward-dq.wgsl'
import optionsText from '../shaders/attention-backward-options.wgsl'
import preprocessText from '../shaders/attention-backward-preprocess.wgsl'
import { attentionBackwardLibraries } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import { axesOf, headParams, headsOf, isGeneral, pack, planesOf, type SharedBindings, sharedBindings } from './attention-problem'
import { BACKWARD_TILES, type BackwardTile, backwardTile } from './attention-tiles'

const variants = (['f32', 'f16'] as const).flatMap((Element) =>
  [false, true].flatMap((GENERAL) => BACKWARD_TILES.map((tile) => ({ Element, GENERAL, ...tile }))),
)
export const attentionBackwardDkdv = defineShader('attention-backward-dkdv', dkdvText, variants, attentionBackwardLibraries)
export const attentionBackwardDq = defineShader('attention-backward-dq', dqText, variants, attentionBackwardLibraries)
export const attentionBackwardDbias = defineShader(
  'attention-backward-dbias',
  dbiasText,
  BACKWARD_TILES.map((tile) => ({ GENERAL: true, ...tile })),
  attentionBackwardLibraries,
)
export const attentionBackwardPreprocess = defineShader(
  'attention-backward-preprocess',
  preprocessText,
  combinations({ Element: ['f32', 'f16'] }),
)
export const attentionBackwardOptions = defineShader('attention-backward-options', optionsText, [{}])

/** Gradients of attention in shaders/attention-backward-*.wgsl: seven products, no atomics, each output written by one workgroup. */
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
  const { problem, dout, q, k, v } = call
  const { nHeads, nHeadsK, seqlenQ, seqlenK, totalQ, totalK, headDim, headDimV } = problem
  const [planes, planesV] = [planesOf(headDim), planesOf(headDimV)]
  const planesOfHead = planes + planesV
  // q, dout and the statistics of each row; k and v.
  const packedQ = ctx.temporary([nHeads, planesOfHead + 1, totalQ, 4])
  const packedK = ctx.temporary([nHeadsK, planesOfHead, totalK, 4])
  const [queries, keys] = [
    { seqlen: seqlenQ, rows: totalQ },
    { seqlen: seqlenK, rows: totalK },
  ]
  pack(ctx, q, queries, packedQ, 0, planesOfHead + 1)
  pack(ctx, dout, queries, packedQ, planes, planesOfHead + 1)
  pack(ctx, k, keys, packedK, 0, planesOfHead)
  pack(ctx, v, keys, packedK, planes, planesOfHead)
  const shared = sharedBindings(ctx, problem)
  preprocess(ctx, call, shared, packedQ, planesOfHead)
  const tile = backwardTile(headDim, headDimV)
  dkdv(ctx, call, tile, shared, packedQ, packedK)
  const dslopes = dqOf(ctx, call, tile, shared, packedQ, packedK)
  if (call.dbias) dbiasOf(ctx, call, call.dbias, tile, shared, packedQ, packedK)
  optionGradients(ctx, call, tile, packedQ, dslopes, planesOfHead)
}

function preprocess(
  ctx: KernelContext,
  { problem, dout, out, lse }: Call,
  { params, heads, tables }: SharedBindings,
  packedQ: WebGPUTensor,
  plane: number,
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
      plane,
      planesOfHead: plane + 1,
      hasHeads: params.hasHeads as number,
      firstSink: batchSize * nHeads,
      sequences: cuSeqlensQ ? batchSize : 0,
      grid: x,
    },
    workgroups: [x, y, nHeads],
  })
}

/** Calls `run` for as many sequences as one dispatch takes. */
function byBatch(ctx: KernelContext, batchSize: number, run: (firstBatch: number, count: number) => void): void {
  const most = ctx.limits.maxComputeWorkgroupsPerDimension
  for (let firstBatch = 0; firstBatch < batchSize; firstBatch += most) run(firstBatch, Math.min(most, batchSize - firstBatch))
}

function dkdv(
  ctx: KernelContext,
  { problem, dout, q, dk, dv }: Call,
  tile: BackwardTile,
  { params, bias, tables }: SharedBindings,
  packedQ: WebGPUTensor,
  packedK: WebGPUTensor,
): void {
  const [qHeads, doutHeads] = [headsOf(ctx, q), headsOf(ctx, dout)]
  byBatch(ctx, problem.batchSize, (firstBatch, count) =>
    ctx.run({
      shader: attentionBackwardDkdv,
      entry: 'attentionBackwardDkdv',
      constants: { Element: problem.dtype, GENERAL: isGeneral(problem), ...tile },
      bindings: { q: qHeads, dout: doutHeads, packedQ, packedK, bias, tables, dk, dv },
      params: {
        ...params,
        ...headParams('Q', qHeads),
        ...headParams('K', undefined),
        ...headParams('V', doutHeads),
        ...tileParams(problem, tile),
        firstBatch,
        nMBlocks: 0,
      },
      workgroups: [Math.ceil(problem.seqlenK / tile.BLOCK), problem.nHeadsK, count],
    }),
  )
}

function tileParams({ headDim, headDimV }: AttentionBackwardProblem, { WORKGROUP }: BackwardTile) {
  return { planes: planesOf(headDim), planesV: planesOf(headDimV), nSplits: 1, workgroup: WORKGROUP }
}

/** @returns [B, Hq, nMBlocks], what each workgroup gives to the gradient of its head's slope */
function dqOf(
  ctx: KernelContext,
  { problem, k, dq }: Call,
  tile: BackwardTile,
  { params, bias, tables }: SharedBindings,
  packedQ: WebGPUTensor,
  packedK: WebGPUTensor,
): WebGPUTensor {
  const { batchSize, nHeads, seqlenQ } = problem
  const kHeads = headsOf(ctx, k)
  const nMBlocks = Math.ceil(seqlenQ / tile.BLOCK)
  const dslopes = ctx.temporary([batchSize, nHeads, nMBlocks])
  byBatch(ctx, batchSize, (firstBatch, count) =>
    ctx.run({
      shader: attentionBackwardDq,
      entry: 'attentionBackwardDq',
      constants: { Element: problem.dtype, GENERAL: isGeneral(problem), ...tile },
      bindings: { packedQ, packedK, k: kHeads, bias, tables, dq, dslopes },
      params: {
        ...params,
        ...headParams('Q', undefined),
        ...headParams('K', kHeads),
        ...headParams('V', undefined),
        ...tileParams(problem, tile),
        firstBatch,
        nMBlocks,
      },
      workgroups: [nMBlocks, nHeads, count],
    }),
  )
  return dslopes
}

function dbiasOf(
  ctx: KernelContext,
  { problem }: Call,
  dbias: WebGPUTensor,
  tile: BackwardTile,
  { params, bias, tables }: SharedBindings,
  packedQ: WebGPUTensor,
  packedK: WebGPUTensor,
): void {
  const { batchSize, nHeads, seqlenQ, seqlenK } = problem
  const [keys, rows, heads, batch] = axesOf(problem)
  ctx.run({
    shader: attentionBackwardDbias,
    entry: 'attentionBackwardDbias',
    constants: { GENERAL: true, ...tile },
    bindings: { packedQ, packedK, bias, tables, dbias },
    params: {
      ...params,
      ...headParams('Q', undefined),
      ...headParams('K', undefined),
      ...headParams('V', undefined),
      ...tileParams(problem, tile),
      firstBatch: 0,
      nMBlocks: 0,
    },
    workgroups: [
      keys ? Math.ceil(seqlenK / tile.WORKGROUP) : 1,
      rows ? Math.ceil(seqlenQ / tile.BLOCK) : 1,
      (batch ? batchSize : 1) * (heads ? nHeads : 1),
    ],
  })
}

function optionGradients(
  ctx: KernelContext,
  { problem, dalibiSlopes, dsink }: Call,
  tile: BackwardTile,
  packedQ: WebGPUTensor,
  dslopes: WebGPUTensor,
  plane: number,
): void {
  const { batchSize, nHeads, totalQ, seqlenQ } = problem
  const batchOfSlopes = dalibiSlopes?.shape.length === 2 ? batchSize : 1
  const params = {
    batchOfSlopes,
    batchSize,
    nHeads,
    nMBlocks: Math.ceil(seqlenQ / tile.BLOCK),
    totalQ,
    plane,
    planesOfHead: plane + 1,
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
