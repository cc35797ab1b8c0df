import type { Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { attentionKernels } from './attention'

/** All kernels of the backend, family by family. */
export function createKernels(ctx: KernelContext): Kernels {
  return {
    ...attentionKernels(ctx),
  } as Kernels
}
