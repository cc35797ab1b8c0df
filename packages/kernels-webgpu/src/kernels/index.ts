import type { Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import type { Shader } from '../shader'
import { attentionKernels, attentionShaders } from './attention'
import { elementwise, elementwiseKernels } from './elementwise'

/** Every shader, for the test that compiles all variants of each. */
export const shaders: readonly Shader[] = [...attentionShaders, elementwise]

/** Every kernel of the contract. */
export function createKernels(ctx: KernelContext): Kernels {
  return { ...attentionKernels(ctx), ...elementwiseKernels(ctx) } as Kernels
}
