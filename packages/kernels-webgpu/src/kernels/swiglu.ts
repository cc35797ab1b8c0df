import { checkSwigluBackward, checkSwigluForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { defineShader } from '../shader'
import { activationsWgsl, elementsWgsl } from '../shaders/libraries'
import text from '../shaders/swiglu.wgsl'
import { elementVariants, runElements } from './elements'
import { resultOf } from './rows'

export const swiglu = defineShader('swiglu', text, elementVariants(['gate', 'up']), [elementsWgsl, activationsWgsl])

/** SwiGLU in shaders/swiglu.wgsl. */
export function swigluKernels(ctx: KernelContext): Pick<Kernels, 'swigluForward' | 'swigluBackward'> {
  return {
    swigluForward(gate, up, options = {}) {
      const { outShape, dtype } = checkSwigluForward(ctx.backend, gate, up, options)
      const out = resultOf(ctx, outShape, dtype, options.out)
      runElements(ctx, 'swigluForward', { shader: swiglu, entry: 'swigluForward', inputs: { gate, up }, outputs: { out } })
      return out
    },

    swigluBackward(dout, gate, up) {
      const { outShape, dtype } = checkSwigluBackward(ctx.backend, dout, gate, up)
      const dgate = ctx.empty(outShape, dtype)
      const dup = ctx.empty(outShape, dtype)
      runElements(ctx, 'swigluBackward', {
        shader: swiglu,
        entry: 'swigluBackward',
        inputs: { gate, up, dout },
        outputs: { out: dgate, dup },
      })
      return { dgate, dup }
    },
  }
}
