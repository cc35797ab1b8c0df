import { type AttentionProblem, checkAttentionForward, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { type Constants, combinations, defineShader } from '../shader'
import text from '../shaders/attention-forward.wgsl'
import mergeText from '../shaders/attention-merge.wgsl'
import { attentionLibraries } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import { headParams, headsOf, isGeneral, pack, planesOf, type SharedBindings, sharedBindings } from './attention-problem'
import { FORWARD_TILES, type ForwardTile, forwardTile } from './attention-tiles'

const TYPES = [
  { Element: 'f32', OutElement: 'f32' },
  { Element: 'f16', OutElement: 'f16' },
  { Element: 'f16', OutElement: 'f32' }, // parts, when keys are split
]

export const attentionForward = defineShader(
  'attention-forward',
  text,
  TYPES.flatMap((types) => FORWARD_TILES.flatMap((tile) => [false, true].map((GENERAL) => ({ ...types, GENERAL, ...tile })))),
  attentionLibraries,
)
export const attentionMerge = defineShader('attention-merge', mergeText, combinations({ OutElement: ['f32', 'f16'] }))

/** Attention in shaders/attention-forward.wgsl. */
export function attentionForwardKernels(ctx: KernelContext): Pick<Kernels, 'attentionForward'> {
  return {
    attentionForward(q, k, v, options = {}) {
      const problem = checkAttentionForward(ctx.backend, q, k, v, options)
      ctx.element('attentionForward', problem.dtype)
      const out = ctx.empty(problem.outShape, problem.dtype)
      const lse = ctx.empty(problem.lseShape)
      runForward(ctx, problem, q, k, v, out, lse)
      return { out, lse }
    },
  }
}

function runForward(ctx: KernelContext, problem: AttentionProblem, q: Tensor, k: Tensor, v: Tensor, out: WebGPUTensor, lse: WebGPUTensor) {
  const { totalQ, totalK, nHeads, nHeadsK, headDim, headDimV, seqlenQ, seqlenK, dtype } = problem
  if (totalQ === 0) return
  const planes = planesOf(headDim)
  const packedK = totalK === 0 ? ctx.placeholder : ctx.temporary([nHeadsK, planes, totalK, 4])
  if (totalK > 0) pack(ctx, k, { seqlen: seqlenK, rows: totalK }, packedK as WebGPUTensor, 0, planes)
  const tile = forwardTile(ctx, headDim, headDimV, seqlenQ)
  const nSplits = splitsFor(problem, tile)
  const shared = sharedBindings(ctx, problem)
  if (nSplits === 1) {
    dispatch(ctx, problem, tile, shared, { q, packedK, v }, out, lse, 1, { Element: dtype, OutElement: dtype })
    return
  }
  const partialOut = ctx.temporary([nSplits, totalQ, nHeads, headDimV])
  const partialLse = ctx.temporary([nSplits, totalQ, nHeads])
  dispatch(ctx, problem, tile, shared, { q, packedK, v }, partialOut, partialLse, nSplits, { Element: dtype, OutElement: 'f32' })
  merge(ctx, problem, shared, partialOut, partialLse, out, lse, nSplits)
}

function dispatch(
  ctx: KernelContext,
  problem: AttentionProblem,
  tile: ForwardTile,
  { params, ...bindings }: SharedBindings,
  { q, packedK, v }: { readonly q: Tensor; readonly packedK: Tensor; readonly v: Tensor },
  out: Tensor,
  lse: Tensor,
  nSplits: number,
  types: Constants,
): void {
  const { batchSize, nHeads, headDim, seqlenQ } = problem
  const [qHeads, vHeads] = [headsOf(ctx, q), headsOf(ctx, v)]
  const nMBlocks = Math.ceil(seqlenQ / tile.BLOCK_M)
  const most = Math.floor(ctx.limits.maxComputeWorkgroupsPerDimension / nSplits)
  for (let firstBatch = 0; firstBatch < batchSize; firstBatch += most) {
    ctx.run({
      shader: attentionForward,
      entry: 'attentionForward',
      constants: { ...types, GENERAL: isGeneral(problem), ...tile },
      bindings: { q: qHeads, packedK, v: vHeads, ...bindings, out, lse },
      params: {
        ...params,
        ...headParams('Q', qHeads),
        ...headParams('K', undefined),
        ...headParams('V', vHeads),
        planes: planesOf(headDim),
        planesV: 0,
        firstBatch,
        nMBlocks,
        nSplits,
        workgroup: tile.WORKGROUP,
      },
      workgroups: [nMBlocks, nHeads, Math.min(most, batchSize - firstBatch) * nSplits],
    })
  }
}

function merge(
  ctx: KernelContext,
  { batchSize, totalQ, nHeads, headDimV, seqlenQ, sink, dtype }: AttentionProblem,
  { heads }: SharedBindings,
  partialOut: Tensor,
  partialLse: Tensor,
  out: Tensor,
  lse: Tensor,
  nSplits: number,
): void {
  const rows = totalQ * nHeads
  const workgroups = ctx.grid(rows)
  ctx.run({
    shader: attentionMerge,
    entry: 'attentionMerge',
    constants: { OutElement: dtype },
    bindings: { partialOut, partialLse, heads, out, lse },
    params: {
      rows,
      headDimV,
      nHeads,
      seqlenQ,
      nSplits,
      hasSink: Number(sink !== undefined),
      firstSink: batchSize * nHeads,
      minusInfinity: Number.NEGATIVE_INFINITY,
      grid: workgroups[0],
    },
    workgroups,
  })
}

/** Workgroups that keep a GPU busy. */
const ENOUGH_WORKGROUPS = 96
/** Tiles of keys that a part has at least: a part costs its share of the merge. */
const TILES_OF_SPLIT = 4

/** Parts of the keys: one, unless batch × heads × query blocks cannot fill the device. Sequences of several lengths are not split. */
function splitsFor({ batchSize, nHeads, seqlenQ, seqlenK, cuSeqlensQ }: AttentionProblem, { BLOCK_M, WORKGROUP }: ForwardTile): number {
  if (cuSeqlensQ) return 1
  const workgroups = batchSize * nHeads * Math.ceil(seqlenQ / BLOCK_M)
  const tiles = Math.ceil(seqlenK / WORKGROUP)
  return Math.max(1, Math.min(Math.floor(ENOUGH_WORKGROUPS / workgroups), Math.floor(tiles / TILES_OF_SPLIT)))
}
