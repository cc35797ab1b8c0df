import { type AttentionBackwardOptions, type AttentionOptions, type AttentionProblem, type Backend, numel } from '@tilegrad/tensor'
import { createOracle, type Oracle } from '@tilegrad/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend } from './index'
import type { AttentionTiles } from './kernel-context'
import { backwardPlans } from './kernels/attention-backward-plan'
import { forwardTile, forwardTiles } from './kernels/attention-tiles'

let backend: WebGPUBackend
let oracle: Oracle
beforeAll(async () => {
  backend = await createWebGPUBackend()
  oracle = createOracle()
})
afterAll(async () => {
  await Promise.all([backend, oracle?.exact, oracle?.naive].map((made) => made?.dispose()))
})

/** The same device with another choice of tiles. */
async function withTiles<T>(attentionTiles: AttentionTiles, run: (chosen: WebGPUBackend) => Promise<T>): Promise<T> {
  const chosen = await createWebGPUBackend({ device: backend.device, attentionTiles })
  try {
    return await run(chosen)
  } finally {
    await chosen.dispose()
  }
}

/** Deterministic numbers around 0. */
function numbers(shape: readonly number[], seed: number): Float32Array {
  let state = seed
  return Float32Array.from({ length: numel(shape) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return state / 2 ** 31
  })
}

interface Problem {
  readonly seqlenQ: number
  readonly seqlenK: number
  readonly headDim: number
  readonly headDimV: number
  readonly options: AttentionOptions
}

const problems: readonly Problem[] = [
  { seqlenQ: 70, seqlenK: 133, headDim: 64, headDimV: 64, options: { causal: true } },
  { seqlenQ: 70, seqlenK: 133, headDim: 64, headDimV: 64, options: { windowSize: [-1, 20], softcap: 2 } },
  // Maxima grow again and again, by much and by little.
  { seqlenQ: 37, seqlenK: 400, headDim: 64, headDimV: 64, options: { softmaxScale: 10 } },
  { seqlenQ: 37, seqlenK: 150, headDim: 19, headDimV: 128, options: { windowSize: [40, 9], dropoutP: 0.2, seed: 7 } },
  { seqlenQ: 5, seqlenK: 600, headDim: 111, headDimV: 256, options: {} },
]

const shapeOf = ({ headDim, headDimV, seqlenQ, seqlenK }: Problem) => ({ headDim, headDimV, seqlenQ, totalK: 2 * seqlenK, nHeadsK: 2 })

test('what a texture cannot hold, or a device that reads none, leaves the tiles that need none', () => {
  const { limits, features, subgroupSizes } = backend.context
  const shape = { headDim: 64, headDimV: 32, seqlenQ: 100, totalK: 1000, nHeadsK: 2 }
  const variants = (mostTexels: number) => {
    const context = { limits, features, subgroupSizes, mostTexels } as typeof backend.context
    return new Set(forwardTiles(context, shape).map(({ variant }) => variant))
  }
  expect(variants(0)).not.toContain('software')
  expect(variants(16 * 2 * 1000 - 1)).not.toContain('software')
  expect(variants(0)).toContain('plain')
  expect(variants(16 * 2 * 1000)).toEqual(new Set(forwardTiles(backend.context, shape).map(({ variant }) => variant)))
})

async function outOf(on: Backend, { seqlenQ, seqlenK, headDim, headDimV, options }: Problem): Promise<number[][]> {
  const shapes = [
    [2, seqlenQ, 4, headDim],
    [2, seqlenK, 2, headDim],
    [2, seqlenK, 2, headDimV],
  ]
  const [q, k, v] = shapes.map((shape, i) => on.tensor(numbers(shape, i + 1), shape)) as [never, never, never]
  const { out, lse } = on.kernels.attentionForward(q, k, v, options)
  return Promise.all([out, lse].map(async (result) => [...((await result.read()) as Float32Array)]))
}

const distance = (a: readonly number[], b: readonly number[]) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] as number))), 0)

describe.each(problems)('$seqlenQ × $seqlenK, D $headDim/$headDimV $options', (problem) => {
  test('every tile that the device can have gives what the others give, the same bits every time, and lies as near to float64 as naive code', async () => {
    const [expected, naive] = [await outOf(oracle.exact, problem), await outOf(oracle.naive, problem)]
    const all = forwardTiles(backend.context, shapeOf(problem))
    // All tiles for one problem, the preferred one of each variant for the others: software drivers take seconds to compile one.
    const tiles = problem === problems[0] ? all : all.filter(({ variant }, i) => all.findIndex((tile) => tile.variant === variant) === i)
    const results = new Map<string, number[][]>()
    for (const { name } of tiles) {
      await withTiles({ forward: name }, async (chosen) => {
        const bits = await outOf(chosen, problem)
        expect(await outOf(chosen, problem), name).toEqual(bits)
        results.set(name, bits)
      })
    }
    expect(new Set(tiles.map(({ variant }) => variant))).toContain('plain')
    for (const which of [0, 1] as const) {
      const largest = Math.max(...(expected[which] as number[]).map(Math.abs))
      // Twice what naive code in float32 errs, and 4 ulp: as the conformance suite has it.
      const limit = 2 * distance(naive[which] as number[], expected[which] as number[]) + 4 * 2 ** -23 * largest
      for (const [name, got] of results) {
        expect(distance(got[which] as number[], expected[which] as number[]), `${name} against float64`).toBeLessThan(limit)
        for (const [other, others] of results) {
          expect(distance(got[which] as number[], others[which] as number[]), `${name} against ${other}`).toBeLessThan(2 * limit)
        }
      }
    }
  })
})

test('a row of q that is NaN is NaN in out, and no other one is', async () => {
  const [seqlenQ, seqlenK, headDim] = [40, 70, 16]
  const nan = 17 * headDim + 3
  for (const name of new Set(
    forwardTiles(backend.context, { headDim, headDimV: headDim, seqlenQ, totalK: seqlenK, nHeadsK: 1 }).map(({ variant }) => variant),
  )) {
    await withTiles({ forward: name }, async (chosen) => {
      const [q, k] = [numbers([seqlenQ * headDim], 1), numbers([seqlenK * headDim], 2)]
      q[nan] = Number.NaN
      const keys = chosen.tensor(k, [1, seqlenK, 1, headDim])
      const { out } = chosen.kernels.attentionForward(chosen.tensor(q, [1, seqlenQ, 1, headDim]), keys, keys)
      const rows = [...((await out.read()) as Float32Array)].map((x, i) => [Number.isNaN(x), Math.floor(i / headDim)] as const)
      expect(new Set(rows.filter(([bad]) => bad).map(([, row]) => row)), name).toEqual(new Set([17]))
    })
  }
})

const gradientProblems: readonly Problem[] = [
  { seqlenQ: 70, seqlenK: 133, headDim: 24, headDimV: 32, options: { causal: true } },
  { seqlenQ: 133, seqlenK: 70, headDim: 31, headDimV: 5, options: { windowSize: [40, 9], softcap: 2, dropoutP: 0.2, seed: 7 } },
]

/** dq, dk, dv, dalibiSlopes, dbias and dsink, of one forward pass by the oracle. */
async function gradientsOn(on: Backend, { seqlenQ, seqlenK, headDim, headDimV, options }: Problem): Promise<number[][]> {
  const shapes = [
    [2, seqlenQ, 4, headDim],
    [2, seqlenK, 2, headDim],
    [2, seqlenK, 2, headDimV],
    [2, seqlenQ, 4, headDimV],
  ]
  const make = (place: Backend) => shapes.map((shape, i) => place.tensor(numbers(shape, i + 1), shape)) as [never, never, never, never]
  const learnable = (place: Backend): AttentionBackwardOptions => ({
    ...options,
    alibiSlopes: place.tensor(Float32Array.of(0.5, 0.2, 0.1, 0.05), [4]),
    bias: place.tensor(numbers([1, 4, seqlenQ, seqlenK], 9), [1, 4, seqlenQ, seqlenK]),
    sink: place.tensor(Float32Array.of(0.5, -1, 0, 2), [4]),
  })
  const [q, k, v] = make(oracle.exact)
  const given = options.dropoutP ? learnable : () => options
  const forward = oracle.exact.kernels.attentionForward(q, k, v, given(oracle.exact))
  const results = await Promise.all(
    [forward.out, forward.lse].map(async (tensor) => on.tensor((await tensor.read()) as Float32Array, tensor.shape)),
  )
  const [q1, k1, v1, dout1] = make(on)
  const names = options.dropoutP ? (['alibiSlopes', 'bias', 'sink'] as const) : []
  const { dq, dk, dv, dalibiSlopes, dbias, dsink } = on.kernels.attentionBackward(
    dout1,
    q1,
    k1,
    v1,
    results[0] as never,
    results[1] as never,
    {
      ...given(on),
      optionGradients: names,
    },
  )
  const all = [dq, dk, dv, dalibiSlopes, dbias, dsink].filter((tensor) => tensor !== undefined)
  return Promise.all(all.map(async (tensor) => [...((await tensor.read()) as Float32Array)]))
}

describe.each(gradientProblems)('gradients of $seqlenQ × $seqlenK, D $headDim/$headDimV $options', (problem) => {
  test('every variant that the device can have gives what the others give, the same bits every time, and lies as near to float64 as naive code', async () => {
    const [expected, naive] = [await gradientsOn(oracle.exact, problem), await gradientsOn(oracle.naive, problem)]
    const plans = backwardPlans(backend.context, problem.headDim, problem.headDimV)
    // As above: all for one problem, the preferred one of each variant for the other.
    const variants = plans
      .filter(({ variant }, i) => problem === gradientProblems[0] || plans.findIndex((plan) => plan.variant === variant) === i)
      .map(({ name }) => name)
    expect(variants).toContain('plain')
    const results = new Map<string, number[][]>()
    for (const variant of variants) {
      await withTiles({ backward: variant }, async (chosen) => {
        const bits = await gradientsOn(chosen, problem)
        expect(await gradientsOn(chosen, problem), variant).toEqual(bits)
        results.set(variant, bits)
      })
    }
    expected.forEach((exact, which) => {
      const largest = Math.max(...exact.map(Math.abs))
      // Three times what naive code in float32 errs, and 4 ulp: as the conformance suite has it.
      const limit = 3 * distance(naive[which] as number[], exact) + 4 * 2 ** -23 * largest
      for (const [variant, got] of results) {
        expect(distance(got[which] as number[], exact), `${variant} against float64`).toBeLessThan(limit)
        for (const [other, others] of results) {
          expect(distance(got[which] as number[], others[which] as number[]), `${variant} against ${other}`).toBeLessThan(2 * limit)
        }
      }
    })
  })
})

test('attentionTiles: an unknown name is refused at once, one that cannot do a call by that call', async () => {
  await expect(createWebGPUBackend({ device: backend.device, attentionTiles: { forward: 'best' } })).rejects.toThrow(
    /^createWebGPUBackend: attentionTiles.forward must be one of .*plain-32x32.*, got 'best'/,
  )
  const lanes = backend.context.subgroupSizes
  if (lanes?.min === lanes?.max && lanes) {
    await withTiles({ forward: 'software-32' }, async (chosen) => {
      const q = chosen.zeros([1, 2, 1, 256])
      expect(() => chosen.kernels.attentionForward(q, q, q)).toThrow(/attentionTiles 'software-32' here: this call can have .*plain/)
    })
  }
})

test('tuneAttention measures every tile, and calls of that class use the fastest', async () => {
  const chosen = await createWebGPUBackend({ device: backend.device })
  const shape = { seqlenQ: 3, seqlenK: 40, nHeads: 2, headDim: 8 }
  const before = chosen.memory().bytes
  const milliseconds = await chosen.tuneAttention(shape)
  expect(chosen.memory().bytes).toBe(before)
  const tiles = forwardTiles(chosen.context, { headDim: 8, headDimV: 8, seqlenQ: 3, totalK: 3, nHeadsK: 1 })
  expect(Object.keys(milliseconds)).toEqual(tiles.map(({ name }) => name))
  const fastest = Object.entries(milliseconds).sort(([, a], [, b]) => a - b)[0]?.[0] as string
  const problem = { ...shape, seqlenK: 64, totalK: 64, nHeadsK: 2, batchSize: 1, headDimV: 8, dtype: 'f32' } as AttentionProblem
  expect(forwardTile(chosen.context, problem).name).toBe(fastest)
  expect(forwardTile(chosen.context, { ...problem, seqlenK: 65 }).name).toBe(tiles[0]?.name)
  await chosen.dispose()
})
