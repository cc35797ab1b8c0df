import { checkRmsNormBackward, checkRmsNormForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { columnParts } from './column-parts'
import { asRows, resultOf } from './rows'

/** RMS norm in native/rms-norm-inl.h, which says what the arguments are. */
export function rmsNormKernels(ctx: KernelContext): Pick<Kernels, 'rmsNormForward' | 'rmsNormBackward'> {
  return {
    rmsNormForward(x, weight, options = {}) {
      const { rows, channels, outShape, statShape, dtype, eps } = checkRmsNormForward(ctx.backend, x, weight, options)
      if (dtype !== 'f32') ctx.unsupported('rmsNormForward', dtype)
      const out = ctx.empty(outShape)
      const rstd = ctx.empty(statShape)
      const input = asRows(ctx, x)
      ctx.run(
        'rms_norm_forward',
        input.address,
        ...[weight, out, rstd].map((tensor) => ctx.address(tensor)),
        rows,
        channels,
        input.stride,
        eps,
      )
      return { out, rstd }
    },

    rmsNormBackward(dout, x, weight, rstd, options = {}) {
      const { rows, channels, outShape, dtype } = checkRmsNormBackward(ctx.backend, dout, x, weight, rstd, options)
      if (dtype !== 'f32') ctx.unsupported('rmsNormBackward', dtype)
      const dx = ctx.empty(outShape)
      const dweight = resultOf(ctx, [channels], options.dweightInto)
      const parts = columnParts(rows)
      const partial = ctx.temporary([parts, channels])
      const grad = asRows(ctx, dout)
      const input = asRows(ctx, x)
      ctx.run(
        'rms_norm_backward',
        grad.address,
        input.address,
        ...[weight, ctx.contiguous(rstd), dx, dweight, partial].map((tensor) => ctx.address(tensor)),
        rows,
        channels,
        grad.stride,
        input.stride,
        parts,
        Number(options.dweightInto !== undefined),
      )
      return { dx, dweight }
    },
  }
}
