import type { AttentionProblem } from '@tilegrad/tensor'
import { conformanceCases, createOracle, type Oracle } from '@tilegrad/testing'
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend } from './index'
import { backwardPlan, backwardPlans } from './kernels/attention-backward-plan'
import { forwardTile, forwardTiles } from './kernels/attention-tiles'

let oracle: Oracle
beforeAll(() => {
  oracle = createOracle({ keep: true })
})
afterAll(async () => {
  await Promise.all([oracle?.exact, oracle?.naive].map((made) => made?.dispose()))
})

type Sizes = WebGPUBackend['context']['subgroupSizes']

/** A backend that takes the adapter's subgroups for others. */
async function withSubgroups(subgroupSizes: Sizes): Promise<WebGPUBackend> {
  const backend = await createWebGPUBackend()
  Object.assign(backend.context, { subgroupSizes })
  return backend
}

const problem = {
  batchSize: 1,
  seqlenQ: 100,
  seqlenK: 200,
  totalQ: 100,
  totalK: 200,
  nHeads: 8,
  nHeadsK: 8,
  headDim: 64,
  headDimV: 64,
  dtype: 'f32',
} as unknown as AttentionProblem

describe('which variant of attention is taken', () => {
  test.each([
    ['NVIDIA, Apple', { min: 32, max: 32 }, 'subgroups'],
    ['AMD', { min: 32, max: 64 }, 'subgroups'],
    ['Intel', { min: 8, max: 32 }, 'plain'],
    ['an adapter that does not say', undefined, 'plain'],
  ] as const)('%s', async (_name, sizes, variant) => {
    const backend = await withSubgroups(sizes)
    const { context } = backend
    expect(forwardTile(context, problem).variant).toBe(variant)
    expect(backwardPlan(context, 64, 64).variant).toBe(variant)
    // Decoding is for a tile in which all invocations share few rows.
    expect(forwardTile(context, { ...problem, seqlenQ: 1 }).variant).toBe('plain')
    await backend.dispose()
  })

  test('tiles keep within the limits of a device, and within a block of a mask', async () => {
    const backend = await withSubgroups({ min: 32, max: 32 })
    const { context } = backend
    const small = Object.assign(Object.create(context), { limits: { ...context.limits, maxComputeWorkgroupStorageSize: 16384 } })
    const first = (headDim: number, element: 'f32' | 'f16') =>
      forwardTiles(small, { ...problem, headDim, headDimV: headDim, element })[0]?.name
    expect(first(64, 'f32')).toBe('subgroups-64x32')
    expect(first(128, 'f32')).toBe('plain-32x32')
    expect(first(128, 'f16')).toBe('subgroups-64x32')
    expect(backwardPlans(small, 64, 64)[0]?.name).toBe('subgroups-64x32')
    expect(backwardPlans(small, 128, 128)[0]?.name).toBe('plain')
    const long = { ...problem, seqlenQ: 4096 }
    expect(forwardTile(context, long).blockM).toBe(128)
    expect(forwardTile(context, { ...long, blockMask: { blockM: 64 } as never }).blockM).toBe(64)
    await backend.dispose()
  })
})

/** Every option, few cases: adapters in software take seconds to compile a variant. */
const chosen = [
  /^attention f32: B 1 Sq 70 Sk 133 H 2\/1 D 32( {"causal":true}| {"windowSize":\[37,21\]})?$/,
  /^attention ALiBi f32: B 1 Sq 70 Sk 133 H 4\/2 D 32 {"causal":true,"softcap":3}/,
  /^attention bias f32: B 2 Sq 37 Sk 133 H 4\/2 D 32 bias {"axes":"BHQK"}$/,
  /^attention sink f32: B 1 Sq 70 Sk 133 H 4\/2 D 32 sink \[1,/,
  /^attention dropout f32: B 1 Sq 61 Sk 133 H 4\/2 D 32 /,
  /^attention varlen f32: varlen 65×65 1×130 70×33 17×64 H 2\/1 D 32/,
  /^attention block mask f32: B (1|2) Sq (300|200) Sk \d+ H \S+ D 32 mask {"seed":(10|15|23),/,
]
const cases = conformanceCases({ dtypes: ['f32', 'f16'], sizes: 'full' }).filter(({ group, name }) =>
  chosen.some((pattern) => pattern.test(`${group}: ${name}`)),
)

test('every pattern finds cases', () => {
  for (const pattern of chosen)
    expect(
      cases.some(({ group, name }) => pattern.test(`${group}: ${name}`)),
      String(pattern),
    ).toBe(true)
})

// Subgroups of 64 that lie across the order of invocations, and have gaps: shaders/subgroup-emulated.wgsl. One group of eight lanes is not whole, so its rows are another's.
describe('on emulated subgroups of 64 with gaps', () => {
  let backend: WebGPUBackend
  beforeAll(async () => {
    backend = await withSubgroups({ min: 64, max: 64, emulated: true })
  })
  afterAll(() => backend?.dispose())
  for (const { group, name, run } of cases) it(`${group}: ${name}`, () => run(backend, oracle), 600_000)
})
