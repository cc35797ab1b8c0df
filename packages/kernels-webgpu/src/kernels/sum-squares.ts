import { checkSumSquares, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import { reduceWgsl } from '../shaders/libraries'
import text from '../shaders/sum-squares.wgsl'
import { asRows, resultOf } from './rows'

/** Elements of one workgroup, of 256 invocations: few enough for a sum in f32. */
const BLOCK = 4096

export const sumSquares = defineShader('sum-squares', text, combinations({ Element: ['f32', 'f16'], WORKGROUP: [256] }), [reduceWgsl])

/** Sums of squares in shaders/sum-squares.wgsl. */
export function sumSquaresKernels(ctx: KernelContext): Pick<Kernels, 'sumSquares'> {
  return {
    sumSquares(x, options = {}) {
      const { elements, outShape, dtype } = checkSumSquares(ctx.backend, x, options)
      const constants = { Element: ctx.element('sumSquares', dtype), WORKGROUP: 256 }
      const out = resultOf(ctx, outShape, 'f32', options.accumulateInto)
      const input = asRows(ctx, x)
      const blocks = Math.ceil(elements / BLOCK)
      const partial = ctx.temporary([blocks])
      const params = {
        count: elements,
        columns: Math.max(1, input.columns),
        startX: input.start,
        strideX: input.stride,
        block: BLOCK,
        blocks,
        startOut: ctx.view(out).start,
        accumulate: Number(options.accumulateInto !== undefined),
      }
      const shader = sumSquares
      ctx.run({ shader, entry: 'sumSquares', constants, bindings: { x: input, partial }, params, workgroups: ctx.grid(blocks) })
      ctx.run({ shader, entry: 'sumBlocks', constants, bindings: { partial, out }, params, workgroups: [1, 1, 1] })
      return out
    },
  }
}
