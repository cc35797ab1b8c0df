import { host, type Layout, target } from '../host-tensor'
import { type KernelCase, kernelCase, magnitudes } from '../kernel-case'
import { same } from './matmul'
import type { Sizes } from './sizes'

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)

const SHAPES: readonly (readonly number[])[] = [[1], [7], [1, 1], [3, 2], [5, 64], [70, 65], [2, 3, 257], [0, 8], [9, 1023], [300, 31]]
const LAYOUTS: readonly Layout[] = ['contiguous', 'padded', 'permuted']

/** Kernels over rows: layerNorm, rmsNorm, softmax and sumRows. */
export function rowCases(sizes: Sizes): KernelCase[] {
  const shapes = sizes === 'full' ? [...SHAPES, [2, 40, 384], [1500, 17]] : SHAPES
  const each = (make: (shape: readonly number[], layout: Layout, i: number) => KernelCase[]) =>
    shapes.flatMap((shape, i) => (shape.length > 1 ? LAYOUTS : LAYOUTS.slice(0, 2)).flatMap((layout) => make(shape, layout, i)))
  return [...each(layerNorm), ...each(rmsNorm), ...each(softmax), ...each(sumRows), ...maskedSoftmax()]
}

function layerNorm(shape: readonly number[], layout: Layout, i: number): KernelCase[] {
  const channels = shape.at(-1) as number
  const name = `[${shape.join(', ')}] ${layout}`
  // A mean far from 0 ruins a variance that is computed as E[x²] − mean².
  const offset = i % 2 === 0 ? 0 : 50
  return [false, true].map((accumulate) =>
    kernelCase(
      'layerNorm',
      `${name}${accumulate ? ' accumulate, eps 0.1' : ''}`,
      (random) => ({
        x: host(shape, random.normals(size(shape), 1, offset), { layout }),
        weight: host([channels], random.normals(channels)),
        bias: host([channels], random.normals(channels)),
        dout: host(shape, random.normals(size(shape)), { layout }),
        dweightInto: target([channels], random.normals(channels)),
        dbiasInto: target([channels], random.normals(channels)),
      }),
      ({ kernels }, { x, weight, bias, dout, dweightInto, dbiasInto }) => {
        const { out, mean, rstd } = kernels.layerNormForward(x, weight, bias, accumulate ? { eps: 0.1 } : {})
        const options = accumulate ? { dweightInto, dbiasInto } : {}
        const { dx, dweight, dbias } = kernels.layerNormBackward(dout, x, weight, mean, rstd, options)
        if (accumulate) {
          same(dweight, dweightInto)
          same(dbias, dbiasInto)
        }
        return { forward: { out, mean, rstd }, gradient: { dx, dweight, dbias } }
      },
      async (backend, { x, weight, dout }) => {
        const one = backend.tensor(new Float32Array(channels).fill(1), [channels])
        const zero = backend.zeros([channels])
        const { out, mean, rstd } = backend.kernels.layerNormForward(x, one, zero, accumulate ? { eps: 0.1 } : {})
        const max = await magnitudes({ x, weight, dout, rstd, normalised: out })
        for (const tensor of [one, zero, out, mean, rstd]) tensor.dispose()
        // The mean cancels in x̂ = (x − mean)·rstd; then dx = rstd·(dx̂ − mean(dx̂) − x̂·mean(dx̂·x̂)).
        const centred = max.x * max.rstd
        return {
          out: centred * max.weight,
          dweight: centred * max.dout,
          dx: max.rstd * max.dout * max.weight * (1 + centred * max.normalised),
        }
      },
    ),
  )
}

function rmsNorm(shape: readonly number[], layout: Layout): KernelCase[] {
  const channels = shape.at(-1) as number
  return [false, true].map((accumulate) =>
    kernelCase(
      'rmsNorm',
      `[${shape.join(', ')}] ${layout}${accumulate ? ' accumulate, eps 0.1' : ''}`,
      (random) => ({
        x: host(shape, random.normals(size(shape)), { layout }),
        weight: host([channels], random.normals(channels)),
        dout: host(shape, random.normals(size(shape)), { layout }),
        dweightInto: target([channels], random.normals(channels)),
      }),
      ({ kernels }, { x, weight, dout, dweightInto }) => {
        const { out, rstd } = kernels.rmsNormForward(x, weight, accumulate ? { eps: 0.1 } : {})
        const { dx, dweight } = kernels.rmsNormBackward(dout, x, weight, rstd, accumulate ? { dweightInto } : {})
        if (accumulate) same(dweight, dweightInto)
        return { forward: { out, rstd }, gradient: { dx, dweight } }
      },
      async ({ kernels }, { x, weight, dout }) => {
        const forward = kernels.rmsNormForward(x, weight, accumulate ? { eps: 0.1 } : {})
        const max = await magnitudes({ weight, dout, rstd: forward.rstd })
        for (const tensor of Object.values(forward)) tensor.dispose()
        // dx̂ − x̂·mean(dx̂·x̂)
        return { dx: max.dout * max.weight * max.rstd }
      },
    ),
  )
}

interface SoftmaxCase {
  readonly scale?: number
  readonly causal?: boolean
  readonly inPlace?: boolean
  readonly logits?: number
}

function softmax(shape: readonly number[], layout: Layout, i: number): KernelCase[] {
  const variants: SoftmaxCase[] = [{}, { scale: 0.125, causal: true }, { scale: -2, causal: i % 2 === 0 }, { causal: true, logits: 100 }]
  return variants.map((variant) => softmaxCase(shape, layout, variant))
}

/** More queries than keys: causal rows that keep nothing are 0; and results written over their inputs. */
function maskedSoftmax(): KernelCase[] {
  return [
    softmaxCase([2, 9, 4], 'contiguous', { causal: true }),
    softmaxCase([2, 4, 9], 'contiguous', { causal: true }),
    softmaxCase([3, 0], 'contiguous', {}),
    softmaxCase([2, 40, 40], 'contiguous', { causal: true, scale: 0.5, inPlace: true }),
    softmaxCase([5, 33], 'contiguous', { inPlace: true }),
  ]
}

function softmaxCase(shape: readonly number[], layout: Layout, { scale, causal, inPlace = false, logits = 1 }: SoftmaxCase): KernelCase {
  const scaled = scale === undefined ? {} : { scale }
  const options = { ...scaled, ...(causal === undefined ? {} : { causal }) }
  const name = `[${shape.join(', ')}] ${layout} ${JSON.stringify(options)}${inPlace ? ' in place' : ''}${logits === 1 ? '' : ` logits × ${logits}`}`
  return kernelCase(
    'softmax',
    name,
    (random) => ({
      x: { ...host(shape, random.normals(size(shape), logits), { layout }), written: inPlace },
      dout: { ...host(shape, random.normals(size(shape)), { layout }), written: inPlace },
    }),
    ({ kernels }, { x, dout }) => {
      const out = kernels.softmaxForward(x, inPlace ? { ...options, out: x } : options)
      const dx = kernels.softmaxBackward(dout, out, inPlace ? { ...scaled, out: dout } : scaled)
      if (inPlace) {
        same(out, x)
        same(dx, dout)
      }
      return { forward: { out }, gradient: { dx } }
    },
    async ({ kernels }, { x, dout }) => {
      const out = kernels.softmaxForward(x, options)
      const max = await magnitudes({ out, dout })
      out.dispose()
      // dout − Σ dout·out
      return { dx: Math.abs(scale ?? 1) * max.out * max.dout }
    },
  )
}

function sumRows(shape: readonly number[], layout: Layout): KernelCase[] {
  const columns = shape.at(-1) as number
  return [
    kernelCase(
      'sumRows',
      `[${shape.join(', ')}] ${layout}`,
      (random) => ({
        x: host(shape, random.normals(size(shape)), { layout }),
        accumulateInto: target([columns], random.normals(columns)),
      }),
      ({ kernels }, { x, accumulateInto }) => {
        const sum = kernels.sumRows(x)
        return { gradient: { sum, accumulated: same(kernels.sumRows(x, { accumulateInto }), accumulateInto) } }
      },
    ),
  ]
}
