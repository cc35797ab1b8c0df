import { checkSoftmaxBackward, checkSoftmaxForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import { reduceWgsl } from '../shaders/libraries'
import text from '../shaders/softmax.wgsl'
import { sameElements } from './elements'
import { asRows, resultOf, rowWorkgroup } from './rows'

export const softmax = defineShader(
  'softmax',
  text,
  combinations({ Element: ['f32', 'f16'], WORKGROUP: [64, 256], X_IS_OUT: [false, true], DOUT_IS_OUT: [false, true] }),
  [reduceWgsl],
)

/** Softmax of a whole matrix in shaders/softmax.wgsl. */
export function softmaxKernels(ctx: KernelContext): Pick<Kernels, 'softmaxForward' | 'softmaxBackward'> {
  return {
    softmaxForward(x, options = {}) {
      const { rows, seqlenQ, seqlenK, scale, causal, outShape, dtype } = checkSoftmaxForward(ctx.backend, x, options)
      const element = ctx.element('softmaxForward', dtype)
      const out = resultOf(ctx, outShape, dtype, options.out)
      const [input, result] = [asRows(ctx, x), asRows(ctx, out)]
      const inPlace = sameElements(x, out)
      ctx.run({
        shader: softmax,
        entry: 'softmaxForward',
        constants: { Element: element, WORKGROUP: rowWorkgroup(seqlenK), X_IS_OUT: inPlace, DOUT_IS_OUT: false },
        bindings: { x: inPlace ? ctx.placeholder : input, out: result },
        params: {
          rows,
          seqlenQ,
          seqlenK,
          startX: input.start,
          strideX: input.stride,
          startDout: 0,
          strideDout: 0,
          startOut: result.start,
          scale,
          causal: Number(causal),
        },
        workgroups: ctx.grid(seqlenK === 0 ? 0 : rows),
      })
      return out
    },

    softmaxBackward(dout, out, options = {}) {
      const { rows, seqlenQ, seqlenK, scale, outShape, dtype } = checkSoftmaxBackward(ctx.backend, dout, out, options)
      const element = ctx.element('softmaxBackward', dtype)
      const dx = resultOf(ctx, outShape, dtype, options.out)
      const [input, grad, result] = [asRows(ctx, out), asRows(ctx, dout), asRows(ctx, dx)]
      const [inPlaceX, inPlaceDout] = [sameElements(out, dx), sameElements(dout, dx)]
      ctx.run({
        shader: softmax,
        entry: 'softmaxBackward',
        constants: { Element: element, WORKGROUP: rowWorkgroup(seqlenK), X_IS_OUT: inPlaceX, DOUT_IS_OUT: inPlaceDout },
        bindings: { x: inPlaceX ? ctx.placeholder : input, dout: inPlaceDout ? ctx.placeholder : grad, out: result },
        params: {
          rows,
          seqlenQ,
          seqlenK,
          startX: input.start,
          strideX: input.stride,
          startDout: grad.start,
          strideDout: grad.stride,
          startOut: result.start,
          scale,
          causal: 0,
        },
        workgroups: ctx.grid(seqlenK === 0 ? 0 : rows),
      })
      return dx
    },
  }
}
