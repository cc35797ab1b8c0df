import type { Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import type { Shader } from '../shader'
import { attentionBackwardKernels, attentionBackwardOptions, attentionBackwardPreprocess } from './attention-backward'
import { attentionBackwardSoftware } from './attention-backward-software'
import {
  attentionBackwardDkdvByEmulatedMatrix,
  attentionBackwardDkdvBySubgroupMatrix,
  attentionBackwardDqByEmulatedMatrix,
  attentionBackwardDqBySubgroupMatrix,
} from './attention-backward-subgroup-matrix'
import {
  attentionBackwardDkdvEmulatedGroups,
  attentionBackwardDkdvGroups,
  attentionBackwardDqEmulatedGroups,
  attentionBackwardDqGroups,
} from './attention-backward-subgroups'
import { attentionBackwardDbias, attentionBackwardDkdv, attentionBackwardDq } from './attention-backward-tiles'
import { attentionForwardKernels, attentionForwardShaders, attentionMerge } from './attention-forward'
import { attentionForwardByEmulatedMatrix, attentionForwardBySubgroupMatrix } from './attention-forward-subgroup-matrix'
import { attentionInspection, attentionInspectionKernels, attentionRows } from './attention-inspection'
import { attentionPackRows } from './attention-pack-rows'
import { attentionInPieces } from './attention-pieces'
import { attentionHeads } from './attention-problem'

type AttentionKernel = 'attentionForward' | 'attentionBackward' | 'attentionRows' | 'attentionColumnSums' | 'attentionTopK'

export const attentionShaders: readonly Shader[] = [
  attentionBackwardDbias,
  attentionBackwardDkdv,
  attentionBackwardDkdvByEmulatedMatrix,
  attentionBackwardDkdvBySubgroupMatrix,
  attentionBackwardDkdvEmulatedGroups,
  attentionBackwardDkdvGroups,
  attentionBackwardDq,
  attentionBackwardDqByEmulatedMatrix,
  attentionBackwardDqBySubgroupMatrix,
  attentionBackwardDqEmulatedGroups,
  attentionBackwardDqGroups,
  attentionBackwardOptions,
  attentionBackwardPreprocess,
  attentionBackwardSoftware,
  ...attentionForwardShaders,
  attentionForwardByEmulatedMatrix,
  attentionForwardBySubgroupMatrix,
  attentionHeads,
  attentionInspection,
  attentionMerge,
  attentionPackRows,
  attentionRows,
]

/** Attention, forward and backward, and what it looked at. */
export function attentionKernels(ctx: KernelContext): Pick<Kernels, AttentionKernel> {
  return {
    ...attentionInPieces(ctx, { ...attentionForwardKernels(ctx), ...attentionBackwardKernels(ctx) }),
    ...attentionInspectionKernels(ctx),
  }
}
