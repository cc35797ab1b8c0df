import {
  checkLinearCrossEntropyBackward,
  checkLinearCrossEntropyForward,
  type Kernels,
  type LinearCrossEntropyProblem,
  type MatmulProblem,
  type Tensor,
} from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import type { WebGPUTensor } from '../tensor'
import { type Chunk, dlogitsOf, factorOf, meanOf, rowLossesOf } from './cross-entropy'
import { runMatmul } from './matmul'
import { asRows, resultOf } from './rows'
import { addParts } from './sum-rows'

/** Cross-entropy of x·weightᵀ: products of shaders/matmul.wgsl and rows of shaders/cross-entropy.wgsl, a chunk of rows at a time, with logits in f32. */
export function linearCrossEntropyKernels(ctx: KernelContext): Pick<Kernels, 'linearCrossEntropyForward' | 'linearCrossEntropyBackward'> {
  return {
    linearCrossEntropyForward(x, weight, targets, options = {}) {
      const problem = checkLinearCrossEntropyForward(ctx.backend, x, weight, targets, options)
      ctx.element('linearCrossEntropyForward', problem.dtype)
      const lse = ctx.empty(problem.lseShape)
      const rowLosses = ctx.temporary(problem.lseShape)
      const labels = ctx.view(ctx.contiguous(targets))
      for (const chunk of chunksOf(ctx, problem)) {
        const { logits } = chunk
        logitsOf(ctx, problem, chunk, x, weight)
        rowLossesOf(ctx, problem, chunk, asRows(ctx, logits), labels, lse, rowLosses)
      }
      return { loss: meanOf(ctx, problem, labels, rowLosses), lse }
    },

    linearCrossEntropyBackward(dloss, x, weight, targets, lse, options = {}) {
      const problem = checkLinearCrossEntropyBackward(ctx.backend, dloss, x, weight, targets, lse, options)
      ctx.element('linearCrossEntropyBackward', problem.dtype)
      const { channels, vocabSize } = problem
      const dx = ctx.empty(x.shape, x.dtype)
      const dweight = resultOf(ctx, weight.shape, weight.dtype, options.dweightInto)
      // Sums over chunks are in f32.
      const sum = dweight.dtype === 'f32' ? dweight : ctx.temporary(weight.shape)
      if (sum !== dweight || !options.dweightInto) ctx.clear(sum)
      const labels = ctx.view(ctx.contiguous(targets))
      const lses = ctx.view(ctx.contiguous(lse))
      const factor = factorOf(ctx, problem, dloss, labels)
      const chunks = chunksOf(ctx, problem)
      // A weight that is too large to be bound is multiplied in parts, whose sum is in f32.
      const parts = dx.dtype !== 'f32' && !ctx.fits(weight)
      const dxOfChunk = parts ? ctx.temporary([chunks[0]?.rows ?? 0, channels]) : undefined
      for (const chunk of chunks) {
        const { logits, rows } = chunk
        logitsOf(ctx, problem, chunk, x, weight)
        dlogitsOf(ctx, problem, chunk, logits, labels, lses, factor, logits)
        const [inputs, gradients] = [rowsOf(ctx, x, chunk), rowsOf(ctx, dx, chunk)]
        const product = dxOfChunk ? ctx.hold(dxOfChunk.slice([0], [rows])) : gradients
        runMatmul(ctx, plain(rows, channels, vocabSize), logits, weight, product, {})
        if (product !== gradients) addParts(ctx, product, { parts: 1, start: 0, stride: 0 }, gradients, false)
        runMatmul(ctx, { ...plain(vocabSize, channels, rows), transposeA: true }, logits, inputs, sum, { accumulateInto: sum })
      }
      if (sum !== dweight) addParts(ctx, sum, { parts: 1, start: 0, stride: 0 }, dweight, options.dweightInto !== undefined)
      return { dx, dweight }
    },
  }
}

interface LogitsChunk extends Chunk {
  /** [rows, vocabSize], f32. */
  readonly logits: WebGPUTensor
}

/** Bytes of logits held at a time, half of what every device binds. */
const CHUNK_BYTES = 64 * 2 ** 20

function chunksOf(ctx: KernelContext, { rows, vocabSize }: LinearCrossEntropyProblem): LogitsChunk[] {
  const bytes = Math.min(CHUNK_BYTES, ctx.limits.maxStorageBufferBindingSize / 2)
  const chunkRows = Math.max(1, Math.min(rows, 1024, Math.floor(bytes / 4 / vocabSize)))
  const logits = ctx.temporary([chunkRows, vocabSize])
  return Array.from({ length: Math.ceil(rows / chunkRows) }, (_, i) => {
    const firstRow = i * chunkRows
    const count = Math.min(chunkRows, rows - firstRow)
    return { firstRow, rows: count, logits: count === chunkRows ? logits : ctx.hold(logits.slice([0], [count])) }
  })
}

function logitsOf(ctx: KernelContext, problem: LinearCrossEntropyProblem, chunk: LogitsChunk, x: Tensor, weight: Tensor): void {
  const product = { ...plain(chunk.rows, problem.vocabSize, problem.channels), transposeB: true }
  runMatmul(ctx, product, rowsOf(ctx, x, chunk), weight, chunk.logits, {})
}

function rowsOf(ctx: KernelContext, tensor: Tensor, { firstRow, rows }: Chunk): WebGPUTensor {
  return ctx.hold(tensor.slice([firstRow], [firstRow + rows]))
}

/** One product [m, k] × [k, n]. */
function plain(m: number, n: number, k: number): MatmulProblem {
  return {
    batch: 1,
    m,
    n,
    k,
    sharedB: true,
    transposeA: false,
    transposeB: false,
    alpha: 1,
    activation: 'none',
    outShape: [m, n],
    dtype: 'f32',
  }
}
