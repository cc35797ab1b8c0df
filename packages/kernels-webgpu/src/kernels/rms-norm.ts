import { checkRmsNormBackward, checkRmsNormForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import { reduceWgsl } from '../shaders/libraries'
import text from '../shaders/rms-norm.wgsl'
import { asRows, resultOf, rowWorkgroup } from './rows'
import { addParts, columnGrid, columnParts } from './sum-rows'

export const rmsNorm = defineShader('rms-norm', text, combinations({ Element: ['f32', 'f16'], WORKGROUP: [64, 256] }), [reduceWgsl])

const NONE = {
  rows: 0,
  columns: 0,
  startX: 0,
  strideX: 0,
  startDout: 0,
  strideDout: 0,
  startWeight: 0,
  startRstd: 0,
  partRows: 0,
  eps: 0,
}

/** RMS norm in shaders/rms-norm.wgsl. */
export function rmsNormKernels(ctx: KernelContext): Pick<Kernels, 'rmsNormForward' | 'rmsNormBackward'> {
  return {
    rmsNormForward(x, weight, options = {}) {
      const { rows, channels, outShape, statShape, dtype, eps } = checkRmsNormForward(ctx.backend, x, weight, options)
      const element = ctx.element('rmsNormForward', dtype)
      const out = ctx.empty(outShape, dtype)
      const rstd = ctx.empty(statShape)
      const [input, w] = [asRows(ctx, x), ctx.view(weight)]
      ctx.run({
        shader: rmsNorm,
        entry: 'rmsNormForward',
        constants: { Element: element, WORKGROUP: rowWorkgroup(channels) },
        bindings: { x: input, weight: w, out, rstd },
        params: { ...NONE, rows, columns: channels, startX: input.start, strideX: input.stride, startWeight: w.start, eps },
        workgroups: ctx.grid(rows),
      })
      return { out, rstd }
    },

    rmsNormBackward(dout, x, weight, rstd, options = {}) {
      const { rows, channels, outShape, dtype } = checkRmsNormBackward(ctx.backend, dout, x, weight, rstd, options)
      const element = ctx.element('rmsNormBackward', dtype)
      const { dweightInto } = options
      const dx = ctx.empty(outShape, dtype)
      const dweight = resultOf(ctx, [channels], dtype, dweightInto)
      const { parts, partRows } = columnParts(rows)
      const partial = ctx.temporary([parts, channels])
      const [input, grad, w, factor] = [asRows(ctx, x), asRows(ctx, dout), ctx.view(weight), ctx.view(ctx.contiguous(rstd))]
      const params = {
        ...NONE,
        rows,
        columns: channels,
        startX: input.start,
        strideX: input.stride,
        startDout: grad.start,
        strideDout: grad.stride,
        startWeight: w.start,
        startRstd: factor.start,
        partRows,
      }
      ctx.run({
        shader: rmsNorm,
        entry: 'rmsNormBackward',
        constants: { Element: element, WORKGROUP: rowWorkgroup(channels) },
        bindings: { x: input, weight: w, dout: grad, out: dx, rstd: factor },
        params,
        workgroups: ctx.grid(rows),
      })
      ctx.run({
        shader: rmsNorm,
        entry: 'rmsNormBackwardParts',
        constants: { Element: element, WORKGROUP: 64 },
        bindings: { x: input, dout: grad, rstd: factor, partial },
        params,
        workgroups: columnGrid(channels, parts),
      })
      addParts(ctx, partial, { parts, start: 0, stride: channels }, dweight, dweightInto !== undefined)
      return { dx, dweight }
    },
  }
}
