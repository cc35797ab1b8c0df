import { type AttentionOptions, type Backend, numel } from '@tilegrad/tensor'
import { createOracle, type Oracle } from '@tilegrad/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend } from './index'
import { forwardTiles } from './kernels/attention-tiles'

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
async function withTile<T>(forward: string, run: (chosen: WebGPUBackend) => Promise<T>): Promise<T> {
  const chosen = await createWebGPUBackend({ device: backend.device, attentionTiles: { forward } })
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
  { seqlenQ: 37, seqlenK: 150, headDim: 19, headDimV: 128, options: { windowSize: [40, 9], dropoutP: 0.2, seed: 7 } },
  { seqlenQ: 5, seqlenK: 600, headDim: 111, headDimV: 256, options: {} },
]

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
    const all = forwardTiles(backend.context, problem)
    // All tiles for one problem, the preferred one of each variant for the others: software drivers take seconds to compile one.
    const tiles = problem === problems[0] ? all : all.filter(({ variant }, i) => all.findIndex((tile) => tile.variant === variant) === i)
    const results = new Map<string, number[][]>()
    for (const { name } of tiles) {
      await withTile(name, async (chosen) => {
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
