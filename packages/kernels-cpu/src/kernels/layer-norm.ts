import { checkLayerNormBackward, checkLayerNormForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { columnParts } from './column-parts'
import { asRows, resultOf } from './rows'

/** Layer norm in native/layer-norm-inl.h, which says what the arguments are. */
export function layerNormKernels(ctx: KernelContext): Pick<Kernels, 'layerNormForward' | 'layerNormBackward'> {
  return {
    layerNormForward(x, weight, bias, options = {}) {
      const { rows, channels, outShape, statShape, dtype, eps } = checkLayerNormForward(ctx.backend, x, weight, bias, options)
      if (dtype !== 'f32') ctx.unsupported('layerNormForward', dtype)
      const out = ctx.empty(outShape)
      const mean = ctx.empty(statShape)
      const rstd = ctx.empty(statShape)
      const input = asRows(ctx, x)
      ctx.run(
        'layer_norm_forward',
        input.address,
        ...[weight, bias, out, mean, rstd].map((tensor) => ctx.address(tensor)),
        rows,
        channels,
        input.stride,
        eps,
      )
      return { out, mean, rstd }
    },

    layerNormBackward(dout, x, weight, mean, rstd, options = {}) {
      const { rows, channels, outShape, dtype } = checkLayerNormBackward(ctx.backend, dout, x, weight, mean, rstd, options)
      if (dtype !== 'f32') ctx.unsupported('layerNormBackward', dtype)
      const { dweightInto, dbiasInto } = options
      const dx = ctx.empty(outShape)
      const dweight = resultOf(ctx, [channels], dweightInto)
      const dbias = resultOf(ctx, [channels], dbiasInto)
      const parts = columnParts(rows)
      const partial = ctx.temporary([parts, 2 * channels])
      const grad = asRows(ctx, dout)
      const input = asRows(ctx, x)
      ctx.run(
        'layer_norm_backward',
        grad.address,
        input.address,
        ...[weight, ctx.contiguous(mean), ctx.contiguous(rstd), dx, dweight, dbias, partial].map((tensor) => ctx.address(tensor)),
        rows,
        channels,
        grad.stride,
        input.stride,
        parts,
        Number(dweightInto !== undefined),
        Number(dbiasInto !== undefined),
      )
      return { dx, dweight, dbias }
    },
  }
}
