import type { Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import type { Shader } from '../shader'

type AttentionKernel = 'attentionForward' | 'attentionBackward' | 'attentionRows' | 'attentionColumnSums' | 'attentionTopK'

export const attentionShaders: readonly Shader[] = []

/** Attention, which is not there yet: refused by name. */
export function attentionKernels(ctx: KernelContext): Pick<Kernels, AttentionKernel> {
  return {
    attentionForward: (_q, { dtype }) => ctx.unsupported('attentionForward', dtype),
    attentionBackward: (_dout, { dtype }) => ctx.unsupported('attentionBackward', dtype),
    attentionRows: (_q, { dtype }) => ctx.unsupported('attentionRows', dtype),
    attentionColumnSums: (_q, { dtype }) => ctx.unsupported('attentionColumnSums', dtype),
    attentionTopK: (_q, { dtype }) => ctx.unsupported('attentionTopK', dtype),
  }
}
