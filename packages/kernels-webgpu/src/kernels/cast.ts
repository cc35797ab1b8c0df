import { checkCast, type Kernels, numel } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { combinations, defineShader } from '../shader'
import text from '../shaders/cast.wgsl'
import { elementsWgsl } from '../shaders/libraries'
import { WORKGROUP } from './elements'
import { asRows } from './rows'

const typeCode = { f32: 0, f16: 1, bf16: 2 } as const

type FloatType = keyof typeof typeCode

export const cast = defineShader('cast', text, combinations({ FROM: [0, 1, 2], TO: [0, 1, 2] }), [elementsWgsl])

/** Conversions between element types in shaders/cast.wgsl. */
export function castKernels(ctx: KernelContext): Pick<Kernels, 'cast'> {
  return {
    cast(x, dtype) {
      const { outShape, elements } = checkCast(ctx.backend, x, dtype)
      const [from, to] = [x.dtype, dtype] as [FloatType, FloatType]
      const out = ctx.empty(outShape, dtype)
      const rows = asRows(ctx, x)
      ctx.run({
        shader: cast,
        entry: 'castElements',
        constants: { FROM: typeCode[from], TO: typeCode[to] },
        bindings: { x: rows, out },
        params: { count: elements, columns: Math.max(1, rows.columns), startX: rows.start, strideX: rows.stride },
        workgroups: ctx.grid(Math.ceil(numel(outShape) / (to === 'f32' ? 1 : 2) / WORKGROUP)),
      })
      return out
    },
  }
}
