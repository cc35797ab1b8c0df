import { checkLinearCrossEntropyBackward, checkLinearCrossEntropyForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { asRows, resultOf } from './rows'

/** Cross-entropy of x·weightᵀ in native/linear-cross-entropy-inl.h, which says what the arguments are. */
export function linearCrossEntropyKernels(ctx: KernelContext): Pick<Kernels, 'linearCrossEntropyForward' | 'linearCrossEntropyBackward'> {
  return {
    linearCrossEntropyForward(x, weight, targets, options = {}) {
      const problem = checkLinearCrossEntropyForward(ctx.backend, x, weight, targets, options)
      const { rows, channels, vocabSize, ignoreIndex, lossShape, lseShape, dtype } = problem
      if (dtype !== 'f32') ctx.unsupported('linearCrossEntropyForward', dtype)
      const loss = ctx.empty(lossShape)
      const lse = ctx.empty(lseShape)
      const rowLosses = ctx.temporary([rows])
      const chunkRows = logitsChunkRows(rows, vocabSize)
      const logits = ctx.temporary([chunkRows, vocabSize])
      const input = asRows(ctx, x)
      const table = asRows(ctx, weight)
      ctx.run(
        'linear_cross_entropy_forward',
        input.address,
        table.address,
        ...[ctx.contiguous(targets), loss, lse, rowLosses, logits].map((tensor) => ctx.address(tensor)),
        rows,
        channels,
        vocabSize,
        input.stride,
        table.stride,
        chunkRows,
        ignoreIndex,
      )
      return { loss, lse }
    },

    linearCrossEntropyBackward(dloss, x, weight, targets, lse, options = {}) {
      const problem = checkLinearCrossEntropyBackward(ctx.backend, dloss, x, weight, targets, lse, options)
      const { rows, channels, vocabSize, ignoreIndex, dtype } = problem
      if (dtype !== 'f32') ctx.unsupported('linearCrossEntropyBackward', dtype)
      const dx = ctx.empty(x.shape)
      const dweight = resultOf(ctx, weight.shape, options.dweightInto)
      const chunkRows = logitsChunkRows(rows, vocabSize)
      const logits = ctx.temporary([chunkRows, vocabSize])
      const input = asRows(ctx, x)
      const table = asRows(ctx, weight)
      ctx.run(
        'linear_cross_entropy_backward',
        ctx.address(dloss),
        input.address,
        table.address,
        ...[ctx.contiguous(targets), ctx.contiguous(lse), dx, dweight, logits].map((tensor) => ctx.address(tensor)),
        rows,
        channels,
        vocabSize,
        input.stride,
        table.stride,
        chunkRows,
        ignoreIndex,
        Number(options.dweightInto !== undefined),
      )
      return { dx, dweight }
    },
  }
}

/**
 * Rows of logits held at a time: about 8 MiB of them, which stay in a shared cache between the passes over them, but at least 256 rows, below which GEMM spends its
 * time on packing the weight, and at most 1024.
 */
function logitsChunkRows(rows: number, vocabSize: number): number {
  const floats = 2 ** 21
  return Math.max(1, Math.min(rows, Math.max(256, Math.min(1024, Math.floor(floats / vocabSize)))))
}
