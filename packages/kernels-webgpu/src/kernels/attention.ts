import type { Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import type { Shader } from '../shader'
import {
  attentionBackwardDbias,
  attentionBackwardDkdv,
  attentionBackwardDq,
  attentionBackwardKernels,
  attentionBackwardOptions,
  attentionBackwardPreprocess,
} from './attention-backward'
import { attentionForward, attentionForwardKernels, attentionMerge } from './attention-forward'
import { attentionHeads, attentionPack } from './attention-problem'

type AttentionKernel = 'attentionForward' | 'attentionBackward' | 'attentionRows' | 'attentionColumnSums' | 'attentionTopK'

export const attentionShaders: readonly Shader[] = [
  attentionBackwardDbias,
  attentionBackwardDkdv,
  attentionBackwardDq,
  attentionBackwardOptions,
  attentionBackwardPreprocess,
  attentionForward,
  attentionHeads,
  attentionMerge,
  attentionPack,
]

/** Attention; what is not there yet is refused by name. */
export function attentionKernels(ctx: KernelContext): Pick<Kernels, AttentionKernel> {
  return {
    ...attentionForwardKernels(ctx),
    ...attentionBackwardKernels(ctx),
    attentionRows: (_q, { dtype }) => ctx.unsupported('attentionRows', dtype),
    attentionColumnSums: (_q, { dtype }) => ctx.unsupported('attentionColumnSums', dtype),
    attentionTopK: (_q, { dtype }) => ctx.unsupported('attentionTopK', dtype),
  }
}
