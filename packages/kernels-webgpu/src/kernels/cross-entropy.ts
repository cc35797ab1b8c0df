import { type CrossEntropyProblem, checkCrossEntropyBackward, checkCrossEntropyForward, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { KernelContext, View } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import text from '../shaders/cross-entropy.wgsl'
import { reduceWgsl } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import { sameElements } from './elements'
import { rowPieces } from './pieces'
import { asRows, type Rows, resultOf, rowWorkgroup } from './rows'

export const crossEntropy = defineShader(
  'cross-entropy',
  text,
  combinations({ Element: ['f32', 'f16'], WORKGROUP: [64, 256], LOGITS_IS_OUT: [false, true] }),
  [reduceWgsl],
)

const NONE = {
  rows: 0,
  vocabSize: 0,
  startLogits: 0,
  strideLogits: 0,
  startTargets: 0,
  startLse: 0,
  startDloss: 0,
  startOut: 0,
  ignoreIndex: 0,
  negativeInfinity: Number.NEGATIVE_INFINITY,
  notANumber: Number.NaN,
}

/** A row a workgroup for the rows of a chunk, which begins at `firstRow` of targets and lse. */
export interface Chunk {
  readonly firstRow: number
  readonly rows: number
}

/** Cross-entropy of given logits in shaders/cross-entropy.wgsl. */
export function crossEntropyKernels(ctx: KernelContext): Pick<Kernels, 'crossEntropyForward' | 'crossEntropyBackward'> {
  return {
    crossEntropyForward(logits, targets, options = {}) {
      const problem = checkCrossEntropyForward(ctx.backend, logits, targets, options)
      ctx.element('crossEntropyForward', problem.dtype)
      const lse = ctx.empty(problem.lseShape)
      const rowLosses = ctx.temporary(problem.lseShape)
      const labels = ctx.view(ctx.contiguous(targets))
      for (const { tensors, ...chunk } of rowPieces(ctx, { logits })) {
        rowLossesOf(ctx, problem, chunk, asRows(ctx, tensors.logits), labels, lse, rowLosses)
      }
      return { loss: meanOf(ctx, problem, labels, rowLosses), lse }
    },

    crossEntropyBackward(dloss, logits, targets, lse, options = {}) {
      const problem = checkCrossEntropyBackward(ctx.backend, dloss, logits, targets, lse, options)
      ctx.element('crossEntropyBackward', problem.dtype)
      const out = resultOf(ctx, problem.logitsShape, problem.dtype, options.out)
      const labels = ctx.view(ctx.contiguous(targets))
      const factor = factorOf(ctx, problem, dloss, labels)
      const lses = ctx.view(ctx.contiguous(lse))
      for (const { tensors, ...chunk } of rowPieces(ctx, { logits, out })) {
        dlogitsOf(ctx, problem, chunk, tensors.logits, labels, lses, factor, tensors.out)
      }
      return out
    },
  }
}

/** lse and loss of each row of a chunk of logits; `lse` and `rowLosses` hold all rows. */
export function rowLossesOf(
  ctx: KernelContext,
  { vocabSize, ignoreIndex }: CrossEntropyProblem,
  { firstRow, rows }: Chunk,
  logits: Rows,
  targets: View,
  lse: WebGPUTensor,
  rowLosses: WebGPUTensor,
): void {
  ctx.run({
    shader: crossEntropy,
    entry: 'crossEntropyForward',
    constants: { Element: logits.tensor.dtype, WORKGROUP: rowWorkgroup(vocabSize), LOGITS_IS_OUT: false },
    bindings: { logits, targets, lse, rowLosses },
    params: {
      ...NONE,
      rows,
      vocabSize,
      startLogits: logits.start,
      strideLogits: logits.stride,
      startTargets: targets.start + firstRow,
      startLse: firstRow,
      ignoreIndex: checkIgnoreIndex(ctx, ignoreIndex),
    },
    workgroups: ctx.grid(rows),
  })
}

/** The loss: the mean of the rows that count. */
export function meanOf(
  ctx: KernelContext,
  { rows, lossShape, ignoreIndex }: CrossEntropyProblem,
  targets: View,
  rowLosses: WebGPUTensor,
): WebGPUTensor {
  const loss = ctx.empty(lossShape)
  ctx.run({
    shader: crossEntropy,
    entry: 'crossEntropyMean',
    constants: { Element: 'f32', WORKGROUP: 256, LOGITS_IS_OUT: false },
    bindings: { targets, rowLosses, loss },
    params: { ...NONE, rows, startTargets: targets.start, ignoreIndex: checkIgnoreIndex(ctx, ignoreIndex) },
    workgroups: [1, 1, 1],
  })
  return loss
}

/** dloss over the number of rows that count, as a temporary. */
export function factorOf(ctx: KernelContext, { rows, ignoreIndex }: CrossEntropyProblem, dloss: Tensor, targets: View): WebGPUTensor {
  const factor = ctx.temporary([1])
  const gradient = ctx.view(dloss)
  ctx.run({
    shader: crossEntropy,
    entry: 'crossEntropyFactor',
    constants: { Element: 'f32', WORKGROUP: 256, LOGITS_IS_OUT: false },
    bindings: { targets, dloss: gradient, factor },
    params: {
      ...NONE,
      rows,
      startTargets: targets.start,
      startDloss: gradient.start,
      ignoreIndex: checkIgnoreIndex(ctx, ignoreIndex),
    },
    workgroups: [1, 1, 1],
  })
  return factor
}

/** The gradient of a chunk of logits, which may be written over them. */
export function dlogitsOf(
  ctx: KernelContext,
  { vocabSize, ignoreIndex }: CrossEntropyProblem,
  { firstRow, rows }: Chunk,
  logits: Tensor,
  targets: View,
  lse: View,
  factor: WebGPUTensor,
  out: Tensor,
): void {
  const [input, result] = [asRows(ctx, logits), asRows(ctx, out)]
  const inPlace = sameElements(logits, result.tensor)
  ctx.run({
    shader: crossEntropy,
    entry: 'crossEntropyBackward',
    constants: { Element: out.dtype, WORKGROUP: rowWorkgroup(vocabSize), LOGITS_IS_OUT: inPlace },
    bindings: { logits: inPlace ? ctx.placeholder : input, targets, lse, factor, out: result },
    params: {
      ...NONE,
      rows,
      vocabSize,
      startLogits: input.start,
      strideLogits: input.stride,
      startTargets: targets.start + firstRow,
      startLse: lse.start + firstRow,
      startOut: result.start,
      ignoreIndex: checkIgnoreIndex(ctx, ignoreIndex),
    },
    workgroups: ctx.grid(rows),
  })
}

/** Targets are i32, so no other ignoreIndex can be one. */
function checkIgnoreIndex(ctx: KernelContext, ignoreIndex: number): number {
  if (Math.abs(ignoreIndex) >= 2 ** 31) ctx.unsupported('crossEntropy', `ignoreIndex ${ignoreIndex}, which is not an i32`)
  return ignoreIndex
}
