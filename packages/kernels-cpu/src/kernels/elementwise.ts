import { checkAdd, checkScale, type ElementwiseProblem, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { CpuTensor, KernelContext } from '../kernel-context'
import { asRows, resultOf } from './rows'

/** Sums and multiples in native/elementwise-inl.h, which says what the arguments are. */
export function elementwiseKernels(ctx: KernelContext): Pick<Kernels, 'add' | 'scale'> {
  return {
    add(a, b, options = {}) {
      const problem = checkAdd(ctx.backend, a, b, options)
      if (problem.dtype !== 'f32') ctx.unsupported('add', problem.dtype)
      return runElementwise(ctx, 'add', problem, [a, b], options.out)
    },

    scale(x, factor, options = {}) {
      const problem = checkScale(ctx.backend, x, factor, options)
      if (problem.dtype !== 'f32') ctx.unsupported('scale', problem.dtype)
      return runElementwise(ctx, 'scale', problem, [x], options.out, factor)
    },
  }
}

/** Runs a kernel whose arguments are: inputs, result, rows, columns, the inputs' row strides, the result's row stride, and what follows. */
export function runElementwise(
  ctx: KernelContext,
  name: string,
  { outShape }: ElementwiseProblem,
  inputs: readonly Tensor[],
  out: Tensor | undefined,
  ...rest: number[]
): CpuTensor {
  const result = resultOf(ctx, outShape, out)
  const rows = inputs.map((input) => asRows(ctx, input))
  const shape = asRows(ctx, result)
  ctx.run(
    name,
    ...rows.map(({ address }) => address),
    shape.address,
    shape.rows,
    shape.columns,
    ...rows.map(({ stride }) => stride),
    shape.stride,
    ...rest,
  )
  return result
}
