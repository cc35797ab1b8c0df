import type { AttentionProblem, Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { type Constants, defineShader } from '../shader'
import text from '../shaders/attention-forward-groups.wgsl'
import { attentionForwardGroupsLibraries } from '../shaders/libraries'
import type { MatrixRows } from './attention-forward-subgroup-matrix'
import { headParams, isGeneral, planesOf, type SharedBindings } from './attention-problem'
import { type ForwardTile, GROUP_TILES, stagesQ, vectorsMade, vectorsOf } from './attention-tiles'

/** Of q, k and v, in vectors of four, and of out, or of its parts when keys are split. Copies in whole vectors are f32. */
const TYPES = [
  ['f32', 'f32'],
  ['f16', 'f16'],
  ['f32', 'f16'],
  ['f16', 'f32'],
] as const

function constantsOf(
  element: string,
  OutElement: string,
  GENERAL: boolean,
  tile: ForwardTile,
  VECTORS: number,
  Q_STAGED: boolean,
): Constants {
  return { Vector: `vec4<${element}>`, OutElement, GENERAL, ...tile.constants, VECTORS, Q_STAGED }
}

const define = (emulated: boolean) =>
  defineShader(
    'attention-forward-groups',
    text,
    TYPES.flatMap(([element, out]) =>
      [false, true].flatMap((general) =>
        GROUP_TILES.flatMap((tile) =>
          vectorsMade(tile).flatMap((vectors) => [false, true].map((staged) => constantsOf(element, out, general, tile, vectors, staged))),
        ),
      ),
    ),
    attentionForwardGroupsLibraries(emulated),
  )

export const attentionForwardGroups = define(false)
export const attentionForwardEmulatedGroups = define(true)

/** Enqueues it. `out` and `lse` are those of parts where nSplits > 1. */
export function dispatchGroupsForward(
  ctx: KernelContext,
  problem: AttentionProblem,
  tile: ForwardTile,
  { element, q, k, v }: MatrixRows,
  { params, ...bindings }: SharedBindings,
  out: Tensor,
  lse: Tensor,
  nSplits: number,
): void {
  const { batchSize, nHeads, headDim, headDimV, seqlenQ } = problem
  const nMBlocks = Math.ceil(seqlenQ / tile.blockM)
  const vectors = vectorsOf(tile, problem)
  const most = Math.floor(ctx.limits.maxComputeWorkgroupsPerDimension / nSplits)
  for (let firstBatch = 0; firstBatch < batchSize; firstBatch += most) {
    ctx.run({
      shader: ctx.subgroupSizes?.emulated ? attentionForwardEmulatedGroups : attentionForwardGroups,
      entry: 'attentionForward',
      constants: constantsOf(element, out.dtype, isGeneral(problem), tile, vectors, stagesQ(ctx, tile, vectors, element)),
      bindings: { q, k, v, ...bindings, out, lse },
      params: {
        ...params,
        ...headParams('Q', q),
        ...headParams('K', k),
        ...headParams('V', v),
        planes: planesOf(headDim),
        planesV: planesOf(headDimV),
        firstBatch,
        nMBlocks,
        nSplits,
        workgroup: tile.invocations,
      },
      workgroups: [nMBlocks, nHeads, Math.min(most, batchSize - firstBatch) * nSplits],
    })
  }
}
