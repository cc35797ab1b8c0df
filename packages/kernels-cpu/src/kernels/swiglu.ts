import { checkSwigluBackward, checkSwigluForward, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { runElementwise } from './elementwise'
import { asRows } from './rows'

/** SwiGLU in native/swiglu-inl.h, which says what the arguments are. */
export function swigluKernels(ctx: KernelContext): Pick<Kernels, 'swigluForward' | 'swigluBackward'> {
  return {
    swigluForward(gate, up, options = {}) {
      const problem = checkSwigluForward(ctx.backend, gate, up, options)
      if (problem.dtype !== 'f32') ctx.unsupported('swigluForward', problem.dtype)
      return runElementwise(ctx, 'swiglu_forward', problem, [gate, up], options.out)
    },

    swigluBackward(dout, gate, up) {
      const { outShape, dtype } = checkSwigluBackward(ctx.backend, dout, gate, up)
      if (dtype !== 'f32') ctx.unsupported('swigluBackward', dtype)
      const dgate = ctx.empty(outShape)
      const dup = ctx.empty(outShape)
      const inputs = [dout, gate, up].map((input) => asRows(ctx, input))
      const { rows, columns } = asRows(ctx, dup)
      ctx.run(
        'swiglu_backward',
        ...inputs.map(({ address }) => address),
        ctx.address(dgate),
        ctx.address(dup),
        rows,
        columns,
        ...inputs.map(({ stride }) => stride),
      )
      return { dgate, dup }
    },
  }
}
