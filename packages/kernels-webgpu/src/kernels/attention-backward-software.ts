import type { AttentionBackwardProblem } from '@tilegrad/tensor'
import type { KernelContext, Run, Texels } from '../kernel-context'
import { defineShader } from '../shader'
import text from '../shaders/attention-backward-software.wgsl'
import { attentionBackwardLibraries, texelsWgsl } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import type { Call } from './attention-backward'
import { SOFTWARE_TILES, type SoftwareTile } from './attention-backward-plan'
import { unpackRows } from './attention-pack-rows'
import { headParams, isGeneral, planesOf, type SharedBindings } from './attention-problem'
import { rowTexels } from './attention-texels'

export const attentionBackwardSoftware = defineShader(
  'attention-backward-software',
  text,
  SOFTWARE_TILES.flatMap((tile) => [false, true].map((GENERAL) => ({ GENERAL, SUBGROUPS: true, ...tile }))),
  [...attentionBackwardLibraries, texelsWgsl],
)

/** Enough workgroups for the threads of a processor; with fewer heads, keys are divided, at the price of as many turns. */
const ENOUGH_WORKGROUPS = 8
/** ROW_BLOCK of the shader, of one set of keys: no more turns than blocks of rows. */
const ROW_BLOCK = 64

/** dQ, dK and dV. @returns [B, Hq, parts], what turns and key blocks give to the gradient of their head's slope */
export function sumInSoftware(
  ctx: KernelContext,
  call: Call,
  shared: SharedBindings,
  statistics: WebGPUTensor,
  tile: SoftwareTile,
): WebGPUTensor {
  const { seqlenQ, seqlenK, totalQ, totalK, nHeads, nHeadsK, headDim, headDimV } = call.problem
  const [q, dout] = [call.q, call.dout].map((tensor) => rowTexels(ctx, tensor, totalQ, seqlenQ).texels) as [Texels, Texels]
  const [k, v] = [call.k, call.v].map((tensor) => rowTexels(ctx, tensor, totalK, seqlenK).texels) as [Texels, Texels]
  // Gradients are summed where they end up, if they are rows of whole vectors in f32.
  const sumsOf = (tensor: WebGPUTensor, rows: number, heads: number, vectors: number) =>
    tensor.dtype === 'f32' && tensor.shape.at(-1) === 4 * vectors ? tensor : ctx.temporary([rows, heads, vectors, 4])
  const [planes, planesV] = [planesOf(headDim), planesOf(headDimV)]
  const dq = sumsOf(call.dq, totalQ, nHeads, planes)
  const dk = sumsOf(call.dk, totalK, nHeadsK, planes)
  const dv = sumsOf(call.dv, totalK, nHeadsK, planesV)
  ctx.clear(dq)
  const bindings = { q, dout, k, v, statistics, bias: shared.bias, tables: shared.tables, dq, dk, dv }
  const dslopes = runTurns(ctx, call.problem, { ...shared.params, planes, planesV }, bindings, tile)
  const queries = { rows: totalQ, seqlen: seqlenQ, vectors: planes, firstVector: 0, heads: 'inside' } as const
  const keys = { ...queries, rows: totalK, seqlen: seqlenK }
  if (dq !== call.dq) unpackRows(ctx, dq, call.dq, queries, 1)
  if (dk !== call.dk) unpackRows(ctx, dk, call.dk, keys, 1)
  if (dv !== call.dv) unpackRows(ctx, dv, call.dv, { ...keys, vectors: planesV }, 1)
  return dslopes
}

/** As many dispatches as groups of keys: see the shader. @returns [B, Hq, parts] */
function runTurns(
  ctx: KernelContext,
  problem: AttentionBackwardProblem,
  params: Run['params'],
  bindings: Run['bindings'],
  tile: SoftwareTile,
): WebGPUTensor {
  const { batchSize, nHeads, nHeadsK, seqlenQ, seqlenK } = problem
  const nNBlocks = Math.ceil(seqlenK / (4 * tile.SUBGROUP * tile.KEYS))
  const wanted = Math.ceil(ENOUGH_WORKGROUPS / (batchSize * nHeadsK))
  const nSplits = Math.max(1, Math.min(wanted, nNBlocks, Math.ceil((seqlenQ * tile.KEYS) / ROW_BLOCK)))
  const dslopes = ctx.temporary([batchSize, nHeads, nSplits * nNBlocks])
  ctx.clear(dslopes)
  const most = ctx.limits.maxComputeWorkgroupsPerDimension
  for (let turn = 0; turn < nSplits; turn++) {
    for (let firstBatch = 0; firstBatch < batchSize; firstBatch += most) {
      ctx.run({
        shader: attentionBackwardSoftware,
        entry: 'attentionBackwardSoftware',
        constants: { GENERAL: isGeneral(problem), SUBGROUPS: true, ...tile },
        bindings: { ...bindings, dslopes },
        params: {
          ...params,
          ...headParams('Q', undefined),
          ...headParams('K', undefined),
          ...headParams('V', undefined),
          workgroup: tile.SUBGROUP,
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
