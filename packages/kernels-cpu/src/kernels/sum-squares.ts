import { checkSumSquares, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { asRows, resultOf } from './rows'

/** Elements of a row that are summed in float32 (kSumSquaresBlock). */
const blockElements = 1024

/** Sums of squares in native/sum-squares-inl.h, which says what the arguments are. */
export function sumSquaresKernels(ctx: KernelContext): Pick<Kernels, 'sumSquares'> {
  return {
    sumSquares(x, options = {}) {
      const { elements, outShape, dtype } = checkSumSquares(ctx.backend, x, options)
      if (dtype !== 'f32') ctx.unsupported('sumSquares', dtype)
      const out = resultOf(ctx, outShape, options.accumulateInto)
      const input = asRows(ctx, x)
      // Contiguous rows are one row: its blocks are whole.
      const flat = input.stride === input.columns
      const rows = flat ? 1 : input.rows
      const columns = flat ? elements : input.columns
      const partial = ctx.temporary([rows * Math.ceil(columns / blockElements)])
      ctx.run(
        'sum_squares',
        input.address,
        ctx.address(out),
        ctx.address(partial),
        rows,
        columns,
        input.stride,
        Number(options.accumulateInto !== undefined),
      )
      return out
    },
  }
}
