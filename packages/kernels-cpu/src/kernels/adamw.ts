import { checkAdamwStep, type Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'

/** AdamW in native/adamw-inl.h, which says what the arguments are. */
export function adamwKernels(ctx: KernelContext): Pick<Kernels, 'adamwStep'> {
  return {
    adamwStep(param, grad, expAvg, expAvgSq, options) {
      const problem = checkAdamwStep(ctx.backend, param, grad, expAvg, expAvgSq, options)
      const { lr, beta1, beta2, eps, weightDecay, step, gradScale, elements, dtype, stateDType } = problem
      for (const type of [dtype, grad.dtype, stateDType]) if (type !== 'f32') ctx.unsupported('adamwStep', type)
      const gradient = ctx.contiguous(grad)
      for (const written of [param, expAvg, expAvgSq]) ctx.touch(written)
      ctx.run(
        'adamw_step',
        ...[param, gradient, expAvg, expAvgSq].map((tensor) => ctx.address(tensor)),
        elements,
        gradScale,
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        1 - lr * weightDecay,
        lr / (1 - beta1 ** step),
        Math.sqrt(1 - beta2 ** step),
        eps,
      )
    },
  }
}
