import { checkLayerNormBackward, checkLayerNormForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import text from '../shaders/layer-norm.wgsl'
import { reduceWgsl } from '../shaders/libraries'
import { asRows, resultOf, rowWorkgroup } from './rows'
import { addParts, columnGrid, columnParts } from './sum-rows'

export const layerNorm = defineShader('layer-norm', text, combinations({ Element: ['f32', 'f16'], WORKGROUP: [64, 256] }), [reduceWgsl])

const NONE = {
  rows: 0,
  columns: 0,
  startX: 0,
  strideX: 0,
  startDout: 0,
  strideDout: 0,
  startWeight: 0,
  startBias: 0,
  startMean: 0,
  startRstd: 0,
  partRows: 0,
  eps: 0,
}

/** Layer norm in shaders/layer-norm.wgsl. */
export function layerNormKernels(ctx: KernelContext): Pick<Kernels, 'layerNormForward' | 'layerNormBackward'> {
  return {
    layerNormForward(x, weight, bias, options = {}) {
      const { rows, channels, outShape, statShape, dtype, eps } = checkLayerNormForward(ctx.backend, x, weight, bias, options)
      const element = ctx.element('layerNormForward', dtype)
      const out = ctx.empty(outShape, dtype)
      const mean = ctx.empty(statShape)
      const rstd = ctx.empty(statShape)
      const input = asRows(ctx, x)
      const [w, b] = [ctx.view(weight), ctx.view(bias)]
      ctx.run({
        shader: layerNorm,
        entry: 'layerNormForward',
        constants: { Element: element, WORKGROUP: rowWorkgroup(channels) },
        bindings: { x: input, weight: w, bias: b, out, mean, rstd },
        params: {
          ...NONE,
          rows,
          columns: channels,
          startX: input.start,
          strideX: input.stride,
          startWeight: w.start,
          startBias: b.start,
          eps,
        },
        workgroups: ctx.grid(rows),
      })
      return { out, mean, rstd }
    },

    layerNormBackward(dout, x, weight, mean, rstd, options = {}) {
      const { rows, channels, outShape, dtype } = checkLayerNormBackward(ctx.backend, dout, x, weight, mean, rstd, options)
      const element = ctx.element('layerNormBackward', dtype)
      const { dweightInto, dbiasInto } = options
      const dx = ctx.empty(outShape, dtype)
      const dweight = resultOf(ctx, [channels], dtype, dweightInto)
      const dbias = resultOf(ctx, [channels], dtype, dbiasInto)
      const { parts, partRows } = columnParts(rows)
      const partial = ctx.temporary([parts, 2, channels])
      const [input, grad, w] = [asRows(ctx, x), asRows(ctx, dout), ctx.view(weight)]
      const [mu, factor] = [ctx.view(ctx.contiguous(mean)), ctx.view(ctx.contiguous(rstd))]
      const params = {
        ...NONE,
        rows,
        columns: channels,
        startX: input.start,
        strideX: input.stride,
        startDout: grad.start,
        strideDout: grad.stride,
        startWeight: w.start,
        startMean: mu.start,
        startRstd: factor.start,
        partRows,
      }
      ctx.run({
        shader: layerNorm,
        entry: 'layerNormBackward',
        constants: { Element: element, WORKGROUP: rowWorkgroup(channels) },
        bindings: { x: input, weight: w, dout: grad, out: dx, mean: mu, rstd: factor },
        params,
        workgroups: ctx.grid(rows),
      })
      ctx.run({
        shader: layerNorm,
        entry: 'layerNormBackwardParts',
        constants: { Element: element, WORKGROUP: 64 },
        bindings: { x: input, dout: grad, mean: mu, rstd: factor, partial },
        params,
        workgroups: columnGrid(channels, parts),
      })
      addParts(ctx, partial, { parts, start: 0, stride: 2 * channels }, dweight, dweightInto !== undefined)
      addParts(ctx, partial, { parts, start: channels, stride: 2 * channels }, dbias, dbiasInto !== undefined)
      return { dx, dweight, dbias }
    },
  }
}
