import { checkGeluBackward, checkGeluForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { runElementwise } from './elementwise'

/** GELU in native/gelu-inl.h. */
export function geluKernels(ctx: KernelContext): Pick<Kernels, 'geluForward' | 'geluBackward'> {
  return {
    geluForward(x, options = {}) {
      const problem = checkGeluForward(ctx.backend, x, options)
      if (problem.dtype !== 'f32') ctx.unsupported('geluForward', problem.dtype)
      return runElementwise(ctx, 'gelu_forward', problem, [x], options.out)
    },

    geluBackward(dout, x, options = {}) {
      const problem = checkGeluBackward(ctx.backend, dout, x, options)
      if (problem.dtype !== 'f32') ctx.unsupported('geluBackward', problem.dtype)
      return runElementwise(ctx, 'gelu_backward', problem, [dout, x], options.out)
    },
  }
}
