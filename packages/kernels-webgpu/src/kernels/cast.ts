import { checkCast, type Kernels, numel, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import text from '../shaders/cast.wgsl'
import { elementsWgsl } from '../shaders/libraries'
import { WORKGROUP } from './elements'
import { inPieces } from './pieces'
import { asRows } from './rows'

const typeCode = { f32: 0, f16: 1, bf16: 2 } as const

type FloatType = keyof typeof typeCode

export const cast = defineShader('cast', text, combinations({ FROM: [0, 1, 2], TO: [0, 1, 2] }), [elementsWgsl])

/** Conversions between element types in shaders/cast.wgsl. */
export function castKernels(ctx: KernelContext): Pick<Kernels, 'cast'> {
  return {
    cast(x, dtype) {
      const { outShape } = checkCast(ctx.backend, x, dtype)
      const out = ctx.empty(outShape, dtype)
      for (const piece of inPieces(ctx, { x, out })) runCast(ctx, piece.x, piece.out)
      return out
    },
  }
}

/** @param out contiguous, from an aligned offset on */
function runCast(ctx: KernelContext, x: Tensor, out: Tensor): void {
  const [from, to] = [x.dtype, out.dtype] as [FloatType, FloatType]
  const rows = asRows(ctx, x)
  const count = numel(out.shape)
  ctx.run({
    shader: cast,
    entry: 'castElements',
    constants: { FROM: typeCode[from], TO: typeCode[to] },
    bindings: { x: rows, out },
    params: { count, columns: Math.max(1, rows.columns), startX: rows.start, strideX: rows.stride },
    workgroups: ctx.grid(Math.ceil(count / (to === 'f32' ? 1 : 2) / WORKGROUP)),
  })
}
