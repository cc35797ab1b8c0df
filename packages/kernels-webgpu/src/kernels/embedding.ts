import { checkEmbeddingBackward, checkEmbeddingForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { type Constants, defineShader } from '../shader'
import text from '../shaders/embedding.wgsl'
import { asRows, resultOf } from './rows'

const WORKGROUP = 64

const variant = (element: string, target: string): Constants => ({ Element: element, Target: target, WORKGROUP })

export const embedding = defineShader('embedding', text, [variant('f32', 'f32'), variant('f16', 'f16'), variant('f16', 'f32')])

/** Embedding in shaders/embedding.wgsl. */
export function embeddingKernels(ctx: KernelContext): Pick<Kernels, 'embeddingForward' | 'embeddingBackward'> {
  return {
    embeddingForward(tokens, weight) {
      const problem = checkEmbeddingForward(ctx.backend, tokens, weight)
      const { channels, vocabSize, outShape, dtype } = problem
      const element = ctx.element('embeddingForward', dtype)
      const out = ctx.empty(outShape, dtype)
      const [ids, table] = [ctx.view(ctx.contiguous(tokens)), asRows(ctx, weight)]
      ctx.run({
        shader: embedding,
        entry: 'embeddingForward',
        constants: variant(element, element),
        bindings: { tokens: ids, rows: table, out },
        params: {
          tokens: problem.tokens,
          channels,
          vocabSize,
          startTokens: ids.start,
          startRows: table.start,
          strideRows: table.stride,
          startOut: 0,
          accumulate: 0,
        },
        workgroups: ctx.grid(Math.ceil((problem.tokens * channels) / WORKGROUP)),
      })
      return out
    },

    embeddingBackward(dout, tokens, vocabSize, options = {}) {
      const problem = checkEmbeddingBackward(ctx.backend, dout, tokens, vocabSize, options)
      const { channels, outShape, dtype } = problem
      const element = ctx.element('embeddingBackward', dtype)
      const { accumulateInto } = options
      const dweight = resultOf(ctx, outShape, dtype, accumulateInto)
      if (!accumulateInto) ctx.clear(dweight)
      if (channels === 0) return dweight
      const links = ctx.temporary([problem.tokens], 'i32')
      const [ids, grad] = [ctx.view(ctx.contiguous(tokens)), asRows(ctx, dout)]
      const params = {
        tokens: problem.tokens,
        channels,
        vocabSize,
        startTokens: ids.start,
        startRows: grad.start,
        strideRows: grad.stride,
        startOut: ctx.view(dweight).start,
        accumulate: Number(accumulateInto !== undefined),
      }
      const constants = variant(element, ctx.element('embeddingBackward', dweight.dtype))
      ctx.run({
        shader: embedding,
        entry: 'embeddingBackwardLinks',
        constants,
        bindings: { tokens: ids, links },
        params,
        workgroups: ctx.grid(Math.ceil(problem.tokens / WORKGROUP)),
      })
      ctx.run({
        shader: embedding,
        entry: 'embeddingBackward',
        constants,
        bindings: { tokens: ids, rows: grad, dweight, links },
        params,
        workgroups: ctx.grid(problem.tokens),
      })
      return dweight
    },
  }
}
