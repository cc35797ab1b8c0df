import { checkMatmul, type Kernels, type MatmulProblem, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { type Axis, mergeAxes } from './axes'
import { resultOf } from './rows'

/** Matrix products in native/gemm-inl.h, which says what the arguments are. */
export function gemmKernels(ctx: KernelContext): Pick<Kernels, 'matmul'> {
  return {
    matmul(a, b, options = {}) {
      const problem = checkMatmul(ctx.backend, a, b, options)
      if (problem.dtype !== 'f32') ctx.unsupported('matmul', problem.dtype)
      const { bias, preActivation, accumulateInto } = options
      const out = resultOf(ctx, problem.outShape, accumulateInto)
      if (preActivation) ctx.touch(preActivation)
      const layout = layoutOf(ctx, a, b, problem)
      ctx.run(
        'gemm',
        ctx.address(layout.a),
        ctx.address(layout.b),
        ctx.address(out),
        bias ? ctx.address(bias) : 0,
        preActivation ? ctx.address(preActivation) : 0,
        layout.m,
        problem.n,
        problem.k,
        layout.lda,
        layout.b.strides.at(-2) as number,
        Number(problem.transposeA),
        Number(problem.transposeB),
        problem.alpha,
        Number(accumulateInto !== undefined),
        Number(problem.activation === 'gelu'),
        ...layout.axes.flatMap(({ size, strides }) => [size, strides[0], strides[1]]),
      )
      return out
    },
  }
}

interface GemmLayout {
  readonly a: Tensor
  readonly b: Tensor
  readonly m: number
  readonly lda: number
  /** Batch axes, from the outermost, with their strides in a and in b. */
  readonly axes: readonly Axis<[number, number]>[]
}

const batchAxes = 3

/** Leading axes as batch axes, or, where b is shared and they lie on one stride with a's rows, as more rows of one product. */
function layoutOf(ctx: KernelContext, a: Tensor, b: Tensor, { m, sharedB, transposeA }: MatmulProblem): GemmLayout {
  const lda = a.strides.at(-2) as number
  const leading = a.shape.slice(0, -2).map((size, i): Axis<[number, number]> => {
    return { size, strides: [a.strides[i] as number, sharedB ? 0 : (b.strides[i] as number)] }
  })
  if (sharedB && !transposeA) {
    const rows = mergeAxes([...leading, { size: m, strides: [lda, 0] }])
    if (rows.length <= 1) return { a, b, m: rows[0]?.size ?? 1, lda: rows[0]?.strides[0] ?? lda, axes: padded([]) }
  }
  const axes = mergeAxes(leading)
  if (axes.length > batchAxes) {
    return layoutOf(ctx, ctx.contiguous(a), sharedB ? b : ctx.contiguous(b), { m, sharedB, transposeA } as MatmulProblem)
  }
  return { a, b, m, lda, axes: padded(axes) }
}

function padded(axes: readonly Axis<[number, number]>[]): Axis<[number, number]>[] {
  return [...new Array<Axis<[number, number]>>(batchAxes - axes.length).fill({ size: 1, strides: [0, 0] }), ...axes]
}
