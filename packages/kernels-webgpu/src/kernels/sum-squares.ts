import { checkSumSquares, type Kernels, numel } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import { reduceWgsl } from '../shaders/libraries'
import text from '../shaders/sum-squares.wgsl'
import { inPieces } from './pieces'
import { asRows, resultOf } from './rows'

/** Elements of one workgroup, of 256 invocations: few enough for a sum in f32. */
const BLOCK = 4096

export const sumSquares = defineShader('sum-squares', text, combinations({ Element: ['f32', 'f16'], WORKGROUP: [256] }), [reduceWgsl])

const NONE = { count: 0, columns: 1, startX: 0, strideX: 0, block: BLOCK, blocks: 0, firstBlock: 0, startOut: 0, accumulate: 0 }

/** Sums of squares in shaders/sum-squares.wgsl. */
export function sumSquaresKernels(ctx: KernelContext): Pick<Kernels, 'sumSquares'> {
  return {
    sumSquares(x, options = {}) {
      const { elements, outShape, dtype } = checkSumSquares(ctx.backend, x, options)
      const constants = { Element: ctx.element('sumSquares', dtype), WORKGROUP: 256 }
      const out = resultOf(ctx, outShape, 'f32', options.accumulateInto)
      const partial = ctx.temporary([Math.ceil(elements / BLOCK)])
      const accumulate = Number(options.accumulateInto !== undefined)
      const shader = sumSquares
      let firstBlock = 0
      for (const piece of inPieces(ctx, { x }, BLOCK)) {
        const input = asRows(ctx, piece.x)
        const count = numel(piece.x.shape)
        const blocks = Math.ceil(count / BLOCK)
        const columns = Math.max(1, input.columns)
        const params = { ...NONE, count, columns, startX: input.start, strideX: input.stride, blocks, firstBlock }
        ctx.run({ shader, entry: 'sumSquares', constants, bindings: { x: input, partial }, params, workgroups: ctx.grid(blocks) })
        firstBlock += blocks
      }
      const params = { ...NONE, blocks: firstBlock, startOut: ctx.view(out).start, accumulate }
      ctx.run({ shader, entry: 'sumBlocks', constants, bindings: { partial, out }, params, workgroups: [1, 1, 1] })
      return out
    },
  }
}
