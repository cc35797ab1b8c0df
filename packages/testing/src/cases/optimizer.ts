import { host, type Layout, target } from '../host-tensor'
import { type KernelCase, kernelCase } from '../kernel-case'
import { same } from './matmul'
import type { Sizes } from './sizes'

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)

/** AdamW and the sum of squares. */
export function optimizerCases(sizes: Sizes): KernelCase[] {
  const shapes: (readonly number[])[] = [[], [1], [17], [33, 65], [0], [3, 5, 7], ...(sizes === 'full' ? [[3, 70001]] : [])]
  return shapes.flatMap((shape) => {
    const layouts: Layout[] = shape.length === 0 ? ['contiguous'] : ['contiguous', 'padded']
    return layouts.flatMap((layout) => [
      adamw(shape, layout, { step: 1, weightDecay: 0 }),
      adamw(shape, layout, { step: 7, weightDecay: 0.1, gradScale: 0.25 }),
      adamw(shape, layout, { step: 100000, weightDecay: 0.01, lr: 0 }),
      sumSquares(shape, layout),
    ])
  })
}

function adamw(
  shape: readonly number[],
  layout: Layout,
  options: { step: number; weightDecay: number; gradScale?: number; lr?: number },
): KernelCase {
  const n = size(shape)
  return kernelCase(
    'adamwStep',
    `[${shape.join(', ')}] grad ${layout} ${JSON.stringify(options)}`,
    (random) => ({
      param: target(shape, random.normals(n)),
      grad: host(shape, random.normals(n), { layout }),
      expAvg: target(shape, random.normals(n)),
      expAvgSq: target(shape, random.normals(n).map(Math.abs)),
    }),
    ({ kernels }, { param, grad, expAvg, expAvgSq }) => {
      const versions = [param.version, expAvg.version, expAvgSq.version]
      kernels.adamwStep(param, grad, expAvg, expAvgSq, { lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, ...options })
      if ([param, expAvg, expAvgSq].some((tensor, i) => tensor.version <= (versions[i] as number))) {
        throw new Error('an in-place write did not count up the version of what it wrote')
      }
      return { forward: { param, expAvg, expAvgSq } }
    },
  )
}

function sumSquares(shape: readonly number[], layout: Layout): KernelCase {
  return kernelCase(
    'sumSquares',
    `[${shape.join(', ')}] ${layout}`,
    (random) => ({
      x: host(shape, random.normals(size(shape)), { layout }),
      accumulateInto: target([], Float32Array.of(3.5), 'f32'),
    }),
    ({ kernels }, { x, accumulateInto }) => ({
      forward: { sum: kernels.sumSquares(x), accumulated: same(kernels.sumSquares(x, { accumulateInto }), accumulateInto) },
    }),
  )
}
