import { checkGeluBackward, checkGeluForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { defineShader } from '../shader'
import text from '../shaders/gelu.wgsl'
import { activationsWgsl, elementsWgsl } from '../shaders/libraries'
import { elementVariants, runElements } from './elements'
import { resultOf } from './rows'

export const gelu = defineShader('gelu', text, elementVariants(['x', 'dout']), [elementsWgsl, activationsWgsl])

/** GELU in shaders/gelu.wgsl. */
export function geluKernels(ctx: KernelContext): Pick<Kernels, 'geluForward' | 'geluBackward'> {
  return {
    geluForward(x, options = {}) {
      const { outShape, dtype } = checkGeluForward(ctx.backend, x, options)
      const out = resultOf(ctx, outShape, dtype, options.out)
      runElements(ctx, 'geluForward', { shader: gelu, entry: 'geluForward', inputs: { x }, outputs: { out } })
      return out
    },

    geluBackward(dout, x, options = {}) {
      const { outShape, dtype } = checkGeluBackward(ctx.backend, dout, x, options)
      const out = resultOf(ctx, outShape, dtype, options.out)
      runElements(ctx, 'geluBackward', { shader: gelu, entry: 'geluBackward', inputs: { x, dout }, outputs: { out } })
      return out
    },
  }
}
