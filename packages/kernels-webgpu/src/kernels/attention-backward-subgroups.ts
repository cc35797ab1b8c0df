import type { KernelContext } from '../kernel-context'
import { defineShader } from '../shader'
import text from '../shaders/attention-backward-subgroups.wgsl'
import { attentionBackwardLibraries } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import { type Packed, packedParams } from './attention-backward-packed'
import { SOFTWARE_TILES, type SoftwareTile } from './attention-backward-plan'
import { isGeneral } from './attention-problem'

export const attentionBackwardSubgroups = defineShader(
  'attention-backward-subgroups',
  text,
  SOFTWARE_TILES.flatMap((tile) => [false, true].map((GENERAL) => ({ GENERAL, SUBGROUPS: true, ...tile }))),
  attentionBackwardLibraries,
)

/** Enough workgroups for the threads of a processor; with fewer heads, keys are divided, at the price of as many turns. */
const ENOUGH_WORKGROUPS = 8
/** ROW_BLOCK of the shader: no more turns than blocks of rows. */
const ROW_BLOCK = 32

/** @returns [B, Hq, parts], what turns and key blocks give to the gradient of their head's slope */
export function sumBySubgroups(ctx: KernelContext, packed: Packed, tile: SoftwareTile): WebGPUTensor {
  const { problem, shared, packedQ, packedK, dqSums, dkdvSums } = packed
  const { bias, tables } = shared
  const { batchSize, nHeads, nHeadsK, seqlenQ, seqlenK } = problem
  const nNBlocks = Math.ceil(seqlenK / (4 * tile.SUBGROUP))
  const wanted = Math.ceil(ENOUGH_WORKGROUPS / (batchSize * nHeadsK))
  const nSplits = Math.max(1, Math.min(wanted, nNBlocks, Math.ceil(seqlenQ / ROW_BLOCK)))
  const dslopes = ctx.temporary([batchSize, nHeads, nSplits * nNBlocks])
  ctx.clear(dqSums)
  ctx.clear(dslopes)
  const most = ctx.limits.maxComputeWorkgroupsPerDimension
  for (let turn = 0; turn < nSplits; turn++) {
    for (let firstBatch = 0; firstBatch < batchSize; firstBatch += most) {
      ctx.run({
        shader: attentionBackwardSubgroups,
        entry: 'attentionBackwardSubgroups',
        constants: { GENERAL: isGeneral(problem), SUBGROUPS: true, ...tile },
        bindings: { packedQ, packedK, bias, tables, dqSums, dkdvSums, dslopes },
        params: {
          ...packedParams(packed, tile.SUBGROUP),
          firstBatch,
          nMBlocks: nNBlocks,
          nSplits,
          turn,
        },
        workgroups: [nSplits, nHeadsK, Math.min(most, batchSize - firstBatch)],
      })
    }
  }
  return dslopes
}
