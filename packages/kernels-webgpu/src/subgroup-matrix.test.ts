import { conformanceCases, createOracle, type Oracle } from '@tilegrad/testing'
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest'
import { WebGPUBackend } from './backend'
import { createWebGPUBackend } from './index'
import { findGPU } from './node-gpu'
import { webgpuDeviceRequirements } from './requirements'
import { describeUnits, EMULATED_UNITS, type MatrixUnits, matrixUnitsOf } from './subgroup-matrix'

// What the machine's adapter has. Where it has subgroup matrices, everything below runs on them too, by itself: `npx vitest run src/subgroup-matrix.test.ts`.
const real = await createWebGPUBackend({ subgroupMatrix: true })
const shapes = real.info.features.subgroupMatrix
if (!shapes)
  console.log(
    `subgroup matrices: ${real.info.device} has none, so their shaders are compiled only; what is built on them runs on an emulation`,
  )

let oracle: Oracle
beforeAll(() => {
  oracle = createOracle({ keep: true })
})
afterAll(async () => {
  await Promise.all([oracle?.exact.dispose(), oracle?.naive.dispose(), real.dispose()])
})

async function createEmulated(units: MatrixUnits): Promise<WebGPUBackend> {
  const adapter = (await (await findGPU()).requestAdapter()) as GPUAdapter
  const device = await adapter.requestDevice(webgpuDeviceRequirements(adapter))
  const features = { subgroupMatrix: describeUnits(units) }
  return new WebGPUBackend({ name: 'webgpu', device: 'emulated', driver: 'emulated', features }, device, true, {}, units)
}

const cases = conformanceCases({ dtypes: ['f32', 'f16'], sizes: 'full' })

/** Kernels that multiply by subgroup matrices. */
const usesMatrices = /^(matmul|attention)/
/** What the emulation runs: every variant, few cases, as a software adapter takes seconds to compile a variant, and minutes where others use the processor too. */
const emulatedCases = [
  /^matmul f16: (17×33×65( aᵀ)?( bᵀ)?( alpha \S+ biasGelu)?$|64×64×64 alpha \S+ bias)/,
  /^matmul f32: \[3\] × 20×50×31/,
  /^attention f(16|32): B 1 Sq 70 Sk 133 H 2\/1 D 32( {"causal":true}| {"windowSize":\[37,21\]}| logits × 60)?$/,
  /^attention f16: B 1 Sq 70 Sk (133|700) H 2\/1 D 32 ({"softcap":2}|keys "(rising|falling)")$/,
  /^attention ALiBi f16: B 1 Sq 70 Sk 133 H 4\/2 D 32 {"causal":true,"softcap":3}/,
  /^attention bias f16: B 2 Sq 37 Sk 133 H 4\/2 D 32 (bias {"axes":"BHQK"}$|.*"hidden":"rows")/,
  /^attention sink f16: B 1 Sq 70 Sk 133 H 4\/2 D 32 ({"causal":true} )?sink/,
  /^attention dropout f16: B 1 Sq 61 Sk 133 H 4\/2 D (32|40\/17) /,
  /^attention varlen f16: varlen 65×65 1×130 70×33 17×64 H 2\/1 D (32|40\/72)/,
  /^attention block mask f16: B (1|2) Sq (130|200) /,
]
const TIMEOUT = 600_000

const emulated = EMULATED_UNITS.map((units) => [`on ${describeUnits(units)}`, () => createEmulated(units), emulatedCases] as const)
const onDevice = [`on ${shapes}`, () => createWebGPUBackend({ subgroupMatrix: true }), [usesMatrices]] as const

describe.each(shapes ? [...emulated, onDevice] : emulated)('%s', (_name, create, chosen) => {
  let backend: WebGPUBackend
  beforeAll(async () => {
    backend = await create()
  })
  afterAll(() => backend?.dispose())
  for (const { group, name, run } of cases.filter(({ group, name }) => chosen.some((pattern) => pattern.test(`${group}: ${name}`)))) {
    it(`${group}: ${name}`, () => run(backend, oracle), TIMEOUT)
  }
})

describe('units', () => {
  const config = (componentType: string, resultComponentType: string, M: number, N: number, K: number) => ({
    componentType,
    resultComponentType,
    M,
    N,
    K,
  })
  const unit = { MATRIX_M: 16, MATRIX_N: 16, MATRIX_K: 16, WORKGROUP: 128, emulated: false }

  test('are the first that sum in f32, of a shape that shaders are made for', () => {
    const nvidia = [
      config('u8', 'u32', 16, 16, 32),
      config('f16', 'f16', 16, 16, 16),
      config('f16', 'f32', 16, 16, 16),
      config('f16', 'f32', 16, 8, 16),
    ]
    expect(matrixUnitsOf(nvidia, 32, 1024)).toEqual({ f16: { Operand: 'f16', ...unit } })
    const apple = [config('f32', 'f32', 8, 8, 8), config('f16', 'f16', 8, 8, 8)]
    expect(matrixUnitsOf(apple, 32, 256)).toEqual({ f32: { Operand: 'f32', ...unit, MATRIX_M: 8, MATRIX_N: 8, MATRIX_K: 8 } })
    expect(matrixUnitsOf([config('f16', 'f32', 32, 32, 2)], 32, 256)).toEqual({})
  })

  test('have workgroups of at least four subgroups', () => {
    const configs = [config('f16', 'f32', 16, 16, 16)]
    expect(matrixUnitsOf(configs, 64, 256).f16?.WORKGROUP).toBe(256)
    expect(matrixUnitsOf(configs, 16, 256).f16?.WORKGROUP).toBe(128)
    expect(matrixUnitsOf(configs, 64, 128)).toEqual({})
    expect(matrixUnitsOf(configs, 128, 1024)).toEqual({})
  })

  test('are used only when asked for', async () => {
    const backend = await createWebGPUBackend()
    expect(backend.info.features.subgroupMatrix).toBe(false)
    await backend.dispose()
    await expect(createWebGPUBackend({ subgroupMatrix: 1 as unknown as boolean })).rejects.toThrow(
      'subgroupMatrix must be true or false, got 1',
    )
  })
})
