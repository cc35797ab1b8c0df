import { checkAdamwStep, type Kernels, numel } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { type Constants, defineShader } from '../shader'
import text from '../shaders/adamw.wgsl'
import { elementsWgsl } from '../shaders/libraries'
import { WORKGROUP } from './elements'
import { inPieces } from './pieces'
import { asRows } from './rows'

const variant = (element: string, gradient: string, state: string): Constants => ({ Element: element, Gradient: gradient, State: state })

export const adamw = defineShader(
  'adamw',
  text,
  [
    variant('f32', 'f32', 'f32'),
    variant('f16', 'f16', 'f16'),
    variant('f16', 'f16', 'f32'),
    variant('f16', 'f32', 'f16'),
    variant('f16', 'f32', 'f32'),
  ],
  [elementsWgsl],
)

/** AdamW in shaders/adamw.wgsl. */
export function adamwKernels(ctx: KernelContext): Pick<Kernels, 'adamwStep'> {
  return {
    adamwStep(param, grad, expAvg, expAvgSq, options) {
      const problem = checkAdamwStep(ctx.backend, param, grad, expAvg, expAvgSq, options)
      const { lr, beta1, beta2, eps, weightDecay, step, gradScale } = problem
      const types = [param, grad, expAvg].map(({ dtype }) => ctx.element('adamwStep', dtype)) as [string, string, string]
      for (const written of [param, expAvg, expAvgSq]) ctx.touch(written)
      for (const piece of inPieces(ctx, { param, grad, expAvg, expAvgSq })) {
        const gradient = asRows(ctx, piece.grad)
        const [p, m, v] = [ctx.view(piece.param), ctx.view(piece.expAvg), ctx.view(piece.expAvgSq)]
        const count = numel(piece.param.shape)
        ctx.run({
          shader: adamw,
          entry: 'adamwStep',
          constants: variant(...types),
          bindings: { grad: gradient, param: p, expAvg: m, expAvgSq: v },
          params: {
            count,
            columns: Math.max(1, gradient.columns),
            startParam: p.start,
            startGrad: gradient.start,
            strideGrad: gradient.stride,
            startExpAvg: m.start,
            startExpAvgSq: v.start,
            gradScale,
            beta1,
            oneMinusBeta1: 1 - beta1,
            beta2,
            oneMinusBeta2: 1 - beta2,
            decay: 1 - lr * weightDecay,
            stepSize: lr / (1 - beta1 ** step),
            sqrtCorrection2: Math.sqrt(1 - beta2 ** step),
            eps,
          },
          workgroups: ctx.grid(Math.ceil(count / WORKGROUP)),
        })
      }
    },
  }
}
