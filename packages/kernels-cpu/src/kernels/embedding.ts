import { checkEmbeddingBackward, checkEmbeddingForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { asRows, resultOf } from './rows'

/** Embedding in native/embedding-inl.h, which says what the arguments are. */
export function embeddingKernels(ctx: KernelContext): Pick<Kernels, 'embeddingForward' | 'embeddingBackward'> {
  return {
    embeddingForward(tokens, weight) {
      const problem = checkEmbeddingForward(ctx.backend, tokens, weight)
      if (problem.dtype !== 'f32') ctx.unsupported('embeddingForward', problem.dtype)
      const out = ctx.empty(problem.outShape)
      const table = asRows(ctx, weight)
      ctx.run(
        'embedding_forward',
        ctx.address(ctx.contiguous(tokens)),
        table.address,
        ctx.address(out),
        problem.tokens,
        problem.channels,
        table.stride,
        problem.vocabSize,
      )
      return out
    },

    embeddingBackward(dout, tokens, vocabSize, options = {}) {
      const problem = checkEmbeddingBackward(ctx.backend, dout, tokens, vocabSize, options)
      if (problem.dtype !== 'f32') ctx.unsupported('embeddingBackward', problem.dtype)
      const dweight = resultOf(ctx, problem.outShape, options.accumulateInto)
      const grad = asRows(ctx, dout)
      ctx.run(
        'embedding_backward',
        grad.address,
        ctx.address(ctx.contiguous(tokens)),
        ctx.address(dweight),
        problem.tokens,
        problem.channels,
        grad.stride,
        vocabSize,
        Number(options.accumulateInto !== undefined),
      )
      return dweight
    },
  }
}
