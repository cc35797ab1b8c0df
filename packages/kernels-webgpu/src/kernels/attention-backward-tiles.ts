import type { KernelContext } from '../kernel-context'
import { defineShader } from '../shader'
import dbiasText from '../shaders/attention-backward-dbias.wgsl'
import dkdvText from '../shaders/attention-backward-dkdv.wgsl'
import dqText from '../shaders/attention-backward-dq.wgsl'
import { attentionBackwardTilesLibraries } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import { type Packed, type PackedOperands, packedParams, sumByPair } from './attention-backward-packed'
import { BACKWARD_BLOCK, BACKWARD_TILES, type BackwardTile } from './attention-backward-plan'
import { axesOf } from './attention-problem'

const variants = BACKWARD_TILES.flatMap((tile) => [false, true].map((GENERAL) => ({ GENERAL, ...tile })))
export const attentionBackwardDkdv = defineShader('attention-backward-dkdv', dkdvText, variants, attentionBackwardTilesLibraries)
export const attentionBackwardDq = defineShader('attention-backward-dq', dqText, variants, attentionBackwardTilesLibraries)
export const attentionBackwardDbias = defineShader(
  'attention-backward-dbias',
  dbiasText,
  BACKWARD_TILES.map((tile) => ({ GENERAL: true, ...tile })),
  attentionBackwardTilesLibraries,
)

/** Enqueues dK, dV and dQ. @returns see sumByPair */
export function sumByTiles(ctx: KernelContext, packed: Packed, tile: BackwardTile): WebGPUTensor {
  return sumByPair(ctx, packed, {
    dkdv: attentionBackwardDkdv,
    dq: attentionBackwardDq,
    constants: { ...tile },
    blockM: BACKWARD_BLOCK.m,
    blockN: BACKWARD_BLOCK.n,
    workgroup: tile.WORKGROUP,
  })
}

/** The gradient of bias, whatever the other gradients were computed by. */
export function biasGradients(ctx: KernelContext, packed: PackedOperands, dbias: WebGPUTensor): void {
  const { problem, shared, packedQ, packedK, rowVectors } = packed
  const { batchSize, nHeads, seqlenQ, seqlenK } = problem
  const tile = BACKWARD_TILES.find(({ WORKGROUP, VECTORS }) => (VECTORS * WORKGROUP) / 8 === rowVectors) as BackwardTile
  const [keys, rows, heads, batch] = axesOf(problem)
  ctx.run({
    shader: attentionBackwardDbias,
    entry: 'attentionBackwardDbias',
    constants: { GENERAL: true, ...tile },
    bindings: { packedQ, packedK, bias: shared.bias, tables: shared.tables, dbias },
    params: { ...packedParams(packed, tile.WORKGROUP), firstBatch: 0, nMBlocks: 0 },
    workgroups: [
      keys ? Math.ceil(seqlenK / BACKWARD_BLOCK.n) : 1,
      rows ? Math.ceil(seqlenQ / BACKWARD_BLOCK.m) : 1,
      (batch ? batchSize : 1) * (heads ? nHeads : 1),
    ],
  })
}
