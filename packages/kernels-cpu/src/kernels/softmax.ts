import { checkSoftmaxBackward, checkSoftmaxForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { asRows, resultOf } from './rows'

/** Softmax of a whole matrix in native/softmax-inl.h, which says what the arguments are. */
export function softmaxKernels(ctx: KernelContext): Pick<Kernels, 'softmaxForward' | 'softmaxBackward'> {
  return {
    softmaxForward(x, options = {}) {
      const { rows, seqlenQ, seqlenK, scale, causal, outShape, dtype } = checkSoftmaxForward(ctx.backend, x, options)
      if (dtype !== 'f32') ctx.unsupported('softmaxForward', dtype)
      const out = resultOf(ctx, outShape, options.out)
      const input = asRows(ctx, x)
      ctx.run('softmax_forward', input.address, ctx.address(out), rows, seqlenQ, seqlenK, input.stride, seqlenK, scale, Number(causal))
      return out
    },

    softmaxBackward(dout, out, options = {}) {
      const { rows, seqlenK, scale, outShape, dtype } = checkSoftmaxBackward(ctx.backend, dout, out, options)
      if (dtype !== 'f32') ctx.unsupported('softmaxBackward', dtype)
      const dx = resultOf(ctx, outShape, options.out)
      const grad = asRows(ctx, dout)
      const output = asRows(ctx, out)
      ctx.run('softmax_backward', grad.address, output.address, ctx.address(dx), rows, seqlenK, grad.stride, output.stride, seqlenK, scale)
      return dx
    },
  }
}
