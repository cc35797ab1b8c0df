import { checkSumRows, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { type Constants, defineShader } from '../shader'
import text from '../shaders/sum-rows.wgsl'
import type { WebGPUTensor } from '../tensor'
import { inPieces } from './pieces'
import { asRows, resultOf } from './rows'

const WORKGROUP = 64

const variant = (element: string, target: string): Constants => ({ Element: element, Target: target, WORKGROUP })

export const sumRowsShader = defineShader('sum-rows', text, [
  variant('f32', 'f32'),
  variant('f32', 'f16'),
  variant('f16', 'f16'),
  variant('f16', 'f32'),
])

/** How the rows of a sum over rows are cut: a function of the shape alone, so that the order of sums is. */
export interface Parts {
  readonly parts: number
  readonly partRows: number
}

/** About 64 rows each, and at most 64 parts, which bounds both the workspace and the error of merging. */
export function columnParts(rows: number): Parts {
  const parts = Math.max(1, Math.min(64, Math.ceil(rows / 64)))
  return { parts, partRows: Math.ceil(rows / parts) }
}

/** Workgroups of a dispatch with a column an invocation and a part a row of workgroups. */
export function columnGrid(columns: number, parts: number): [number, number, 1] {
  return [Math.ceil(columns / WORKGROUP), parts, 1]
}

/** Sums over rows in shaders/sum-rows.wgsl. */
export function sumRowsKernels(ctx: KernelContext): Pick<Kernels, 'sumRows'> {
  return {
    sumRows(x, options = {}) {
      const { rows, columns, outShape, dtype } = checkSumRows(ctx.backend, x, options)
      const element = ctx.element('sumRows', dtype)
      const out = resultOf(ctx, outShape, dtype, options.accumulateInto)
      const { parts, partRows } = columnParts(rows)
      const partial = ctx.temporary([parts, columns])
      const input = asRows(ctx, x)
      ctx.run({
        shader: sumRowsShader,
        entry: 'sumRows',
        constants: variant(element, 'f32'),
        bindings: { x: input, partial },
        params: { ...NONE, rows, columns, startX: input.start, strideX: input.stride, partRows, stridePartial: columns },
        workgroups: columnGrid(columns, parts),
      })
      addParts(ctx, partial, { parts, start: 0, stride: columns }, out, options.accumulateInto !== undefined)
      return out
    },
  }
}

const NONE = {
  rows: 0,
  columns: 0,
  startX: 0,
  strideX: 0,
  partRows: 0,
  startPartial: 0,
  stridePartial: 0,
  parts: 0,
  startOut: 0,
  accumulate: 0,
}

interface Sources {
  readonly parts: number
  readonly start: number
  readonly stride: number
}

/**
 * Sums `parts` arrays of f32, in their order, into `out`, or on top of what it holds.
 *
 * @param from where they lie in `partial`, in elements; a part that is alone may be larger than what can be bound, as may `out`
 */
export function addParts(ctx: KernelContext, partial: WebGPUTensor, from: Sources, out: Tensor, accumulate: boolean): void {
  if (from.parts === 1 && !(ctx.fits(partial) && ctx.fits(out))) {
    for (const piece of inPieces(ctx, { partial, out })) {
      runAddParts(ctx, piece.partial, { ...from, start: ctx.view(piece.partial).start }, piece.out, accumulate)
    }
  } else runAddParts(ctx, partial, from, out, accumulate)
}

function runAddParts(ctx: KernelContext, partial: Tensor, from: Sources, out: Tensor, accumulate: boolean): void {
  const columns = out.shape.reduce((n, size) => n * size, 1)
  ctx.run({
    shader: sumRowsShader,
    entry: 'addParts',
    constants: variant('f32', ctx.element('addParts', out.dtype)),
    bindings: { partial, out },
    params: {
      ...NONE,
      columns,
      parts: from.parts,
      startPartial: from.start,
      stridePartial: from.stride,
      startOut: ctx.view(out).start,
      accumulate: Number(accumulate),
    },
    workgroups: ctx.grid(Math.ceil(columns / WORKGROUP)),
  })
}
