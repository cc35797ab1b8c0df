import { checkRopeBackward, checkRopeForward, type Kernels, numel, type RopeProblem, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import { elementsWgsl } from '../shaders/libraries'
import text from '../shaders/rope.wgsl'
import type { WebGPUTensor } from '../tensor'
import { WORKGROUP } from './elements'

export const rope = defineShader('rope', text, combinations({ Element: ['f32', 'f16'] }), [elementsWgsl])

/** Rotary embedding in shaders/rope.wgsl. */
export function ropeKernels(ctx: KernelContext): Pick<Kernels, 'ropeForward' | 'ropeBackward'> {
  return {
    ropeForward(x, cos, sin, options = {}) {
      return rotate(ctx, 'ropeForward', checkRopeForward(ctx.backend, x, cos, sin, options), x, cos, sin, 1)
    },

    ropeBackward(dout, cos, sin, options = {}) {
      return rotate(ctx, 'ropeBackward', checkRopeBackward(ctx.backend, dout, cos, sin, options), dout, cos, sin, -1)
    },
  }
}

function rotate(
  ctx: KernelContext,
  kernel: string,
  { seqlen, nHeads, headDim, rotaryDim, positionOffset, outShape, dtype }: RopeProblem,
  x: Tensor,
  cos: Tensor,
  sin: Tensor,
  direction: 1 | -1,
): WebGPUTensor {
  const element = ctx.element(kernel, dtype)
  const out = ctx.empty(outShape, dtype)
  const count = numel(outShape)
  const [input, cosines, sines] = [ctx.view(x), ctx.view(cos), ctx.view(sin)]
  const [strideBatch, strideRow, strideHead] = x.strides as [number, number, number]
  ctx.run({
    shader: rope,
    entry: 'rope',
    constants: { Element: element },
    bindings: { x: input, cosines, sines, out },
    params: {
      count,
      seqlen,
      nHeads,
      headDim,
      half: rotaryDim / 2,
      startX: input.start,
      strideBatch,
      strideRow,
      strideHead,
      startCos: cosines.start,
      strideCos: cos.strides[0] as number,
      startSin: sines.start,
      strideSin: sin.strides[0] as number,
      positionOffset,
      direction,
    },
    workgroups: ctx.grid(Math.ceil(count / WORKGROUP)),
  })
  return out
}
