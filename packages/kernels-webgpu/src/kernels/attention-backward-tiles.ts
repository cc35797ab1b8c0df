import type { KernelContext, Run } from '../kernel-context'
import { defineShader } from '../shader'
import dbiasText from '../shaders/attention-backward-dbias.wgsl'
import dkdvText from '../shaders/attention-backward-dkdv.wgsl'
import dqText from '../shaders/attention-backward-dq.wgsl'
import { attentionBackwardTilesLibraries } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import { BACKWARD_BLOCK, BACKWARD_TILES, type BackwardTile } from './attention-backward-plan'
import type { Packed } from './attention-backward-subgroups'
import { axesOf, headParams, isGeneral } from './attention-problem'

const variants = BACKWARD_TILES.flatMap((tile) => [false, true].map((GENERAL) => ({ GENERAL, ...tile })))
export const attentionBackwardDkdv = defineShader('attention-backward-dkdv', dkdvText, variants, attentionBackwardTilesLibraries)
export const attentionBackwardDq = defineShader('attention-backward-dq', dqText, variants, attentionBackwardTilesLibraries)
export const attentionBackwardDbias = defineShader(
  'attention-backward-dbias',
  dbiasText,
  BACKWARD_TILES.map((tile) => ({ GENERAL: true, ...tile })),
  attentionBackwardTilesLibraries,
)

/** @returns [B, Hq, nMBlocks], what each workgroup of dQ gives to the gradient of its head's slope */
export function sumByTiles(ctx: KernelContext, packed: Packed, tile: BackwardTile): WebGPUTensor {
  const { problem, shared, packedQ, packedK, dqSums, dkdvSums } = packed
  const { batchSize, nHeads, nHeadsK, seqlenQ, seqlenK } = problem
  const { bias, tables } = shared
  const constants = { GENERAL: isGeneral(problem), ...tile }
  const nMBlocks = Math.ceil(seqlenQ / BACKWARD_BLOCK.m)
  const dslopes = ctx.temporary([batchSize, nHeads, nMBlocks])
  ctx.clear(dslopes)
  const most = ctx.limits.maxComputeWorkgroupsPerDimension
  for (let firstBatch = 0; firstBatch < batchSize; firstBatch += most) {
    const count = Math.min(most, batchSize - firstBatch)
    const params = { ...tileParams(packed, tile), firstBatch, nMBlocks }
    ctx.run({
      shader: attentionBackwardDkdv,
      entry: 'attentionBackwardDkdv',
      constants,
      bindings: { packedQ, packedK, bias, tables, dkdvSums },
      params,
      workgroups: [Math.ceil(seqlenK / BACKWARD_BLOCK.n), nHeadsK, count],
    })
    ctx.run({
      shader: attentionBackwardDq,
      entry: 'attentionBackwardDq',
      constants,
      bindings: { packedQ, packedK, bias, tables, dqSums, dslopes },
      params,
      workgroups: [nMBlocks, nHeads, count],
    })
  }
  return dslopes
}

function tileParams({ shared: { params }, rowVectors }: Packed, { WORKGROUP }: BackwardTile): Run['params'] {
  return {
    ...params,
    ...headParams('Q', undefined),
    ...headParams('K', undefined),
    ...headParams('V', undefined),
    planes: rowVectors,
    planesV: rowVectors,
    nSplits: 1,
    workgroup: WORKGROUP,
  }
}

/** The gradient of bias, whatever the other gradients were computed by. */
export function biasGradients(ctx: KernelContext, packed: Packed, dbias: WebGPUTensor): void {
  const { problem, shared, packedQ, packedK, rowVectors } = packed
  const { batchSize, nHeads, seqlenQ, seqlenK } = problem
  const tile = BACKWARD_TILES.find(({ WORKGROUP, VECTORS }) => (VECTORS * WORKGROUP) / 8 === rowVectors) as BackwardTile
  const [keys, rows, heads, batch] = axesOf(problem)
  ctx.run({
    shader: attentionBackwardDbias,
    entry: 'attentionBackwardDbias',
    constants: { GENERAL: true, ...tile },
    bindings: { packedQ, packedK, bias: shared.bias, tables: shared.tables, dbias },
    params: { ...tileParams(packed, tile), firstBatch: 0, nMBlocks: 0 },
    workgroups: [
      keys ? Math.ceil(seqlenK / BACKWARD_BLOCK.n) : 1,
      rows ? Math.ceil(seqlenQ / BACKWARD_BLOCK.m) : 1,
      (batch ? batchSize : 1) * (heads ? nHeads : 1),
    ],
  })
}
