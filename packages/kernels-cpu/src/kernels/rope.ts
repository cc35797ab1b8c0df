import { checkRopeBackward, checkRopeForward, type Kernels, type RopeProblem, type Tensor } from '@tilegrad/tensor'
import type { CpuTensor, KernelContext } from '../kernel-context'

/** Rotary embedding in native/rope-inl.h, which says what the arguments are. */
export function ropeKernels(ctx: KernelContext): Pick<Kernels, 'ropeForward' | 'ropeBackward'> {
  return {
    ropeForward(x, cos, sin, options = {}) {
      const problem = checkRopeForward(ctx.backend, x, cos, sin, options)
      if (problem.dtype !== 'f32') ctx.unsupported('ropeForward', problem.dtype)
      return rotate(ctx, problem, x, cos, sin, 1)
    },

    ropeBackward(dout, cos, sin, options = {}) {
      const problem = checkRopeBackward(ctx.backend, dout, cos, sin, options)
      if (problem.dtype !== 'f32') ctx.unsupported('ropeBackward', problem.dtype)
      return rotate(ctx, problem, dout, cos, sin, -1)
    },
  }
}

function rotate(ctx: KernelContext, problem: RopeProblem, x: Tensor, cos: Tensor, sin: Tensor, sign: 1 | -1): CpuTensor {
  const { batchSize, seqlen, nHeads, headDim, rotaryDim, positionOffset, outShape } = problem
  const out = ctx.empty(outShape)
  ctx.run(
    'rope',
    ...[x, cos, sin, out].map((tensor) => ctx.address(tensor)),
    batchSize,
    seqlen,
    nHeads,
    headDim,
    rotaryDim / 2,
    ...x.strides.slice(0, 3),
    cos.strides[0] as number,
    sin.strides[0] as number,
    positionOffset,
    sign,
  )
  return out
}
