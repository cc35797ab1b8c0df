import { checkEmbeddingBackward, checkEmbeddingForward, type EmbeddingProblem, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { KernelContext, View } from '../kernel-context'
import { type Constants, defineShader } from '../shader'
import text from '../shaders/embedding.wgsl'
import type { WebGPUTensor } from '../tensor'
import { rowPieces } from './pieces'
import { asRows, resultOf } from './rows'
import { addParts } from './sum-rows'

const WORKGROUP = 64
/** Invocations that share the vocabulary: enough to keep a GPU's unit busy, few enough that each going through all tokens is little work. */
const INVOCATIONS = 256

const variant = (element: string, target: string): Constants => ({ Element: element, Target: target, WORKGROUP, INVOCATIONS })

export const embedding = defineShader('embedding', text, [variant('f32', 'f32'), variant('f16', 'f16'), variant('f16', 'f32')])

/** Embedding in shaders/embedding.wgsl. */
export function embeddingKernels(ctx: KernelContext): Pick<Kernels, 'embeddingForward' | 'embeddingBackward'> {
  return {
    embeddingForward(tokens, weight) {
      const problem = checkEmbeddingForward(ctx.backend, tokens, weight)
      const { outShape, dtype } = problem
      ctx.element('embeddingForward', dtype)
      const out = ctx.empty(outShape, dtype)
      const ids = ctx.view(ctx.contiguous(tokens))
      for (const chunk of rowPieces(ctx, { out })) {
        const few = tokensOf(problem, ids, chunk)
        for (const { tensors, ...bound } of rowPieces(ctx, { weight })) lookUp(ctx, few, tensors.weight, bound, chunk.tensors.out)
      }
      return out
    },

    embeddingBackward(dout, tokens, vocabSize, options = {}) {
      const problem = checkEmbeddingBackward(ctx.backend, dout, tokens, vocabSize, options)
      ctx.element('embeddingBackward', problem.dtype)
      const { accumulateInto } = options
      const dweight = resultOf(ctx, problem.outShape, problem.dtype, accumulateInto)
      const adds = accumulateInto !== undefined
      const chunks = rowPieces(ctx, { dout })
      // Sums over chunks are in f32.
      const sum = chunks.length > 1 && dweight.dtype !== 'f32' ? ctx.temporary(problem.outShape) : dweight
      if (sum !== dweight || !adds) ctx.clear(sum)
      if (problem.channels === 0) return dweight
      const ids = ctx.view(ctx.contiguous(tokens))
      for (const chunk of chunks) {
        const few = tokensOf(problem, ids, chunk)
        const links = linksOf(ctx, few)
        const accumulate = chunk.firstRow > 0 || (adds && sum === dweight)
        for (const { tensors, ...bound } of rowPieces(ctx, { sum })) {
          addRows(ctx, few, links, chunk.tensors.dout, tensors.sum, bound, accumulate)
        }
      }
      if (sum !== dweight) addParts(ctx, sum, { parts: 1, start: 0, stride: 0 }, dweight, adds)
      return dweight
    },
  }
}

/** Rows of the table, or of all tokens. */
interface Range {
  readonly firstRow: number
  readonly rows: number
}

/** Some tokens, and the table that they are of. */
interface Tokens extends Pick<EmbeddingProblem, 'vocabSize' | 'channels' | 'dtype'> {
  readonly ids: View
  readonly tokens: number
}

function tokensOf({ vocabSize, channels, dtype }: EmbeddingProblem, all: View, { firstRow, rows }: Range): Tokens {
  return { vocabSize, channels, dtype, ids: { ...all, start: all.start + firstRow }, tokens: rows }
}

function paramsOf({ ids, tokens, channels, vocabSize }: Tokens, { firstRow, rows }: Range) {
  const nothing = { startRows: 0, strideRows: 0, startOut: 0, accumulate: 0 }
  return { ...nothing, tokens, channels, vocabSize, firstRow, rowsBound: rows, startTokens: ids.start }
}

function lookUp(ctx: KernelContext, few: Tokens, weight: Tensor, bound: Range, out: Tensor): void {
  const [table, result] = [asRows(ctx, weight), ctx.view(out)]
  ctx.run({
    shader: embedding,
    entry: 'embeddingForward',
    constants: variant(few.dtype, few.dtype),
    bindings: { tokens: few.ids, rows: table, out: result },
    params: { ...paramsOf(few, bound), startRows: table.start, strideRows: table.stride, startOut: result.start },
    workgroups: ctx.grid(Math.ceil((few.tokens * few.channels) / WORKGROUP)),
  })
}

/** Tokens of one kind as a list, in their order. */
function linksOf(ctx: KernelContext, few: Tokens): WebGPUTensor {
  const links = ctx.temporary([few.tokens], 'i32')
  const last = ctx.temporary([few.vocabSize], 'i32')
  ctx.clear(last)
  ctx.run({
    shader: embedding,
    entry: 'embeddingBackwardLinks',
    constants: variant('f32', 'f32'),
    bindings: { tokens: few.ids, links, last },
    params: paramsOf(few, { firstRow: 0, rows: few.vocabSize }),
    workgroups: [few.tokens === 0 ? 0 : INVOCATIONS / WORKGROUP, 1, 1],
  })
  return links
}

/** Adds up what the rows of the table that are bound get. */
function addRows(
  ctx: KernelContext,
  few: Tokens,
  links: WebGPUTensor,
  dout: Tensor,
  dweight: Tensor,
  bound: Range,
  accumulate: boolean,
): void {
  const [grad, target] = [asRows(ctx, dout), ctx.view(dweight)]
  ctx.run({
    shader: embedding,
    entry: 'embeddingBackward',
    constants: variant(few.dtype, dweight.dtype),
    bindings: { tokens: few.ids, rows: grad, dweight: target, links },
    params: {
      ...paramsOf(few, bound),
      startRows: grad.start,
      strideRows: grad.stride,
      startOut: target.start,
      accumulate: Number(accumulate),
    },
    workgroups: ctx.grid(few.tokens),
  })
}
