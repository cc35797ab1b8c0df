import { checkCast, type DType, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { asRows } from './rows'

const typeCode: Readonly<Partial<Record<DType, number>>> = { f32: 0, f16: 1, bf16: 2 }

/** Conversions between element types in native/cast-inl.h, which says what the arguments are. */
export function castKernels(ctx: KernelContext): Pick<Kernels, 'cast'> {
  return {
    cast(x, dtype) {
      const { outShape } = checkCast(ctx.backend, x, dtype)
      const [from, to] = [typeCode[x.dtype], typeCode[dtype]]
      if (from === undefined || to === undefined) ctx.unsupported('cast', `${x.dtype} to ${dtype}`)
      const out = ctx.empty(outShape, dtype)
      const { address, rows, columns, stride } = asRows(ctx, x)
      ctx.run('cast', address, ctx.address(out), from, to, rows, columns, stride)
      return out
    },
  }
}
