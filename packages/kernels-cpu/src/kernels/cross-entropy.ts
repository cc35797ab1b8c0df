import { checkCrossEntropyBackward, checkCrossEntropyForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { asRows, resultOf } from './rows'

/** Cross-entropy of given logits in native/cross-entropy-inl.h, which says what the arguments are. */
export function crossEntropyKernels(ctx: KernelContext): Pick<Kernels, 'crossEntropyForward' | 'crossEntropyBackward'> {
  return {
    crossEntropyForward(logits, targets, options = {}) {
      const { rows, vocabSize, ignoreIndex, lossShape, lseShape, dtype } = checkCrossEntropyForward(ctx.backend, logits, targets, options)
      if (dtype !== 'f32') ctx.unsupported('crossEntropyForward', dtype)
      const loss = ctx.empty(lossShape)
      const lse = ctx.empty(lseShape)
      const rowLosses = ctx.temporary([rows])
      const input = asRows(ctx, logits)
      ctx.run(
        'cross_entropy_forward',
        input.address,
        ...[ctx.contiguous(targets), loss, lse, rowLosses].map((tensor) => ctx.address(tensor)),
        rows,
        vocabSize,
        input.stride,
        ignoreIndex,
      )
      return { loss, lse }
    },

    crossEntropyBackward(dloss, logits, targets, lse, options = {}) {
      const problem = checkCrossEntropyBackward(ctx.backend, dloss, logits, targets, lse, options)
      const { rows, vocabSize, ignoreIndex, logitsShape, dtype } = problem
      if (dtype !== 'f32') ctx.unsupported('crossEntropyBackward', dtype)
      const dlogits = resultOf(ctx, logitsShape, options.out)
      const input = asRows(ctx, logits)
      ctx.run(
        'cross_entropy_backward',
        ctx.address(dloss),
        input.address,
        ...[ctx.contiguous(targets), ctx.contiguous(lse), dlogits].map((tensor) => ctx.address(tensor)),
        rows,
        vocabSize,
        input.stride,
        vocabSize,
        ignoreIndex,
      )
      return dlogits
    },
  }
}
