import { checkSoftmaxBackward, checkSoftmaxForward, type Kernels, type SoftmaxForwardProblem, type SoftmaxProblem } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import { reduceWgsl } from '../shaders/libraries'
import text from '../shaders/softmax.wgsl'
import { sameElements } from './elements'
import { type RowPiece, rowPieces } from './pieces'
import { asRows, resultOf, rowWorkgroup } from './rows'

export const softmax = defineShader(
  'softmax',
  text,
  combinations({ Element: ['f32', 'f16'], WORKGROUP: [64, 256], X_IS_OUT: [false, true], DOUT_IS_OUT: [false, true] }),
  [reduceWgsl],
)

/** Softmax of a whole matrix in shaders/softmax.wgsl. */
export function softmaxKernels(ctx: KernelContext): Pick<Kernels, 'softmaxForward' | 'softmaxBackward'> {
  return {
    softmaxForward(x, options = {}) {
      const problem = checkSoftmaxForward(ctx.backend, x, options)
      ctx.element('softmaxForward', problem.dtype)
      const out = resultOf(ctx, problem.outShape, problem.dtype, options.out)
      for (const piece of rowPieces(ctx, { x, out })) runForward(ctx, problem, piece)
      return out
    },

    softmaxBackward(dout, out, options = {}) {
      const problem = checkSoftmaxBackward(ctx.backend, dout, out, options)
      ctx.element('softmaxBackward', problem.dtype)
      const dx = resultOf(ctx, problem.outShape, problem.dtype, options.out)
      for (const piece of rowPieces(ctx, { dout, out, dx })) runBackward(ctx, problem, piece)
      return dx
    },
  }
}

function runForward(
  ctx: KernelContext,
  { seqlenQ, seqlenK, scale, causal, dtype }: SoftmaxForwardProblem,
  { firstRow, rows, tensors: { x, out } }: RowPiece<'x' | 'out'>,
): void {
  const [input, result] = [asRows(ctx, x), asRows(ctx, out)]
  const inPlace = sameElements(x, result.tensor)
  ctx.run({
    shader: softmax,
    entry: 'softmaxForward',
    constants: { Element: dtype, WORKGROUP: rowWorkgroup(seqlenK), X_IS_OUT: inPlace, DOUT_IS_OUT: false },
    bindings: { x: inPlace ? ctx.placeholder : input, out: result },
    params: {
      firstRow,
      rows,
      seqlenQ,
      seqlenK,
      startX: input.start,
      strideX: input.stride,
      startDout: 0,
      strideDout: 0,
      startOut: result.start,
      scale,
      causal: Number(causal),
    },
    workgroups: ctx.grid(seqlenK === 0 ? 0 : rows),
  })
}

function runBackward(
  ctx: KernelContext,
  { seqlenQ, seqlenK, scale, dtype }: SoftmaxProblem,
  { firstRow, rows, tensors: { dout, out, dx } }: RowPiece<'dout' | 'out' | 'dx'>,
): void {
  const [input, grad, result] = [asRows(ctx, out), asRows(ctx, dout), asRows(ctx, dx)]
  const [inPlaceX, inPlaceDout] = [sameElements(out, result.tensor), sameElements(dout, result.tensor)]
  ctx.run({
    shader: softmax,
    entry: 'softmaxBackward',
    constants: { Element: dtype, WORKGROUP: rowWorkgroup(seqlenK), X_IS_OUT: inPlaceX, DOUT_IS_OUT: inPlaceDout },
    bindings: { x: inPlaceX ? ctx.placeholder : input, dout: inPlaceDout ? ctx.placeholder : grad, out: result },
    params: {
      firstRow,
      rows,
      seqlenQ,
      seqlenK,
      startX: input.start,
      strideX: input.stride,
      startDout: grad.start,
      strideDout: grad.stride,
      startOut: result.start,
      scale,
      causal: 0,
    },
    workgroups: ctx.grid(seqlenK === 0 ? 0 : rows),
  })
}
