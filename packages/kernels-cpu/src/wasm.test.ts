import { DeviceError, OutOfMemoryError } from '@tilegrad/tensor'
import { testBackend, testDeterminism } from '@tilegrad/testing'
import { describe, expect, test } from 'vitest'
import { declareSuite } from '../../../suite.shared'
import { createBackend } from './create'
import { createCpuBackend } from './index'
import { allIsas } from './isas.testing'
import { type Create, testRuntime } from './runtime.testing'

declareSuite('cpu-wasm')

const create: Create = (options) => createCpuBackend({ ...options, runtime: 'wasm' })
const createSimd128: Create = (options) => createBackend({ ...options, runtime: 'wasm' }, 'simd128')
const createRelaxedSimd: Create = (options) => createBackend({ ...options, runtime: 'wasm' }, 'relaxed-simd')

testBackend('conformance with threads', () => createSimd128({ threads: 2 }))
testBackend('conformance in the caller’s thread', () => createSimd128({ threads: 1 }), { sizes: 'small' })
// The same kernels but for mulAdd.
testBackend('conformance with relaxed SIMD', () => createRelaxedSimd({ threads: 2 }), { sizes: 'small' })
testBackend('conformance with relaxed SIMD in the caller’s thread', () => createRelaxedSimd({ threads: 1 }), { sizes: 'small' })
testDeterminism('determinism', (threads) => createSimd128({ threads }))
testDeterminism('determinism with relaxed SIMD', (threads) => createRelaxedSimd({ threads }))

describe('wasm with threads', () => {
  testRuntime(create, 2)
})

describe('wasm in the caller’s thread', () => {
  testRuntime(create, 1)
})

describe('instruction sets', () => {
  const isas = allIsas.filter(({ runtime }) => runtime === 'wasm').map(({ isa }) => isa)

  test('the best that the engine has is taken, and info says which', async () => {
    expect(isas).toEqual(['relaxed-simd', 'simd128'])
    const backend = await create({ threads: 2 })
    expect(backend.info).toMatchObject({ driver: 'wasm relaxed-simd, 2 threads', features: { runtime: 'wasm', isa: 'relaxed-simd' } })
    await backend.dispose()
  })

  test.each([
    { isa: 'simd128', possible: [0] },
    // Without FMA in the processor it rounds twice.
    { isa: 'relaxed-simd', possible: [2 ** -24, 0] },
  ])('$isa rounds a multiply-add as it should', async ({ isa, possible }) => {
    const backend = await createBackend({ runtime: 'wasm', threads: 1 }, isa)
    const x = 1 + 2 ** -12
    // (1 + 2^-12)² is 2^-24 more than the nearest float32.
    const out = backend.kernels.matmul(backend.tensor([-(1 + 2 ** -11), x], [1, 2]), backend.tensor([1, x], [2, 1]))
    expect(possible).toContain((await out.read())[0])
    await backend.dispose()
  })
})

test('memory grows up to 4 GiB, then OutOfMemoryError', async () => {
  for (const threads of [1, 2]) {
    const backend = await create({ threads, maxBytes: 2 ** 40 })
    const tensors = []
    const GiB = 2 ** 30
    // Never touched, so that no machine needs to have that much.
    for (let i = 0; i < 3; i++) tensors.push(backend.empty([GiB / 4]))
    expect(() => backend.empty([GiB / 4])).toThrow(OutOfMemoryError)
    expect(await backend.tensor([1, 2], [2]).read()).toEqual(Float32Array.of(1, 2))
    for (const tensor of tensors) tensor.dispose()
    // Freed ranges merge: more than any one of them.
    backend.empty([(3 * GiB) / 4]).dispose()
    await backend.dispose()
  }
})

test('a worker that fails rejects what waits, and what comes', async () => {
  const backend = await create({ threads: 2 })
  backend.context.run('memory_zero', 2 ** 32 - 64, 2 ** 20)
  const x = backend.empty([1])
  await expect(x.read()).rejects.toThrow(DeviceError)
  await expect(backend.sync()).rejects.toThrow(/cpu: WebAssembly worker 0 failed: RuntimeError/)
  await backend.dispose()
})
