import { checkAdd, checkScale, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { defineShader } from '../shader'
import text from '../shaders/elementwise.wgsl'
import { elementsWgsl } from '../shaders/libraries'
import { elementVariants, runElements } from './elements'
import { resultOf } from './rows'

export const elementwise = defineShader('elementwise', text, elementVariants(['a', 'b']), [elementsWgsl])

/** Sums and multiples in shaders/elementwise.wgsl. */
export function elementwiseKernels(ctx: KernelContext): Pick<Kernels, 'add' | 'scale'> {
  return {
    add(a, b, options = {}) {
      const { outShape, dtype } = checkAdd(ctx.backend, a, b, options)
      const out = resultOf(ctx, outShape, dtype, options.out)
      runElements(ctx, 'add', { shader: elementwise, entry: 'add', inputs: { a, b }, outputs: { out } })
      return out
    },

    scale(x, factor, options = {}) {
      const { outShape, dtype } = checkScale(ctx.backend, x, factor, options)
      const out = resultOf(ctx, outShape, dtype, options.out)
      runElements(ctx, 'scale', { shader: elementwise, entry: 'scale', inputs: { a: x }, outputs: { out }, rest: { factor } })
      return out
    },
  }
}
