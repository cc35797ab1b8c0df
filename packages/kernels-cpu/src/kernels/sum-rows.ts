import { checkSumRows, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { columnParts } from './column-parts'
import { asRows, resultOf } from './rows'

/** Sums over rows in native/sum-rows-inl.h, which says what the arguments are. */
export function sumRowsKernels(ctx: KernelContext): Pick<Kernels, 'sumRows'> {
  return {
    sumRows(x, options = {}) {
      const { rows, columns, outShape, dtype } = checkSumRows(ctx.backend, x, options)
      if (dtype !== 'f32') ctx.unsupported('sumRows', dtype)
      const out = resultOf(ctx, outShape, options.accumulateInto)
      const parts = columnParts(rows)
      const partial = ctx.temporary([parts, columns])
      const input = asRows(ctx, x)
      ctx.run(
        'sum_rows',
        input.address,
        ctx.address(out),
        ctx.address(partial),
        rows,
        columns,
        input.stride,
        parts,
        Number(options.accumulateInto !== undefined),
      )
      return out
    },
  }
}
