import { DeviceError, OutOfMemoryError } from '@tilegrad/tensor'
import { testBackend, testDeterminism } from '@tilegrad/testing'
import { describe, expect, test } from 'vitest'
import { declareSuite } from '../../../suite.shared'
import { createCpuBackend } from './index'
import { type Create, testRuntime } from './runtime.testing'

declareSuite('cpu-wasm')

const create: Create = (options) => createCpuBackend({ ...options, runtime: 'wasm' })

testBackend('conformance with threads', () => create({ threads: 2 }))
testBackend('conformance in the caller’s thread', () => create({ threads: 1 }), { sizes: 'small' })
testDeterminism('determinism', (threads) => create({ threads }))

describe('wasm with threads', () => {
  testRuntime(create, 2)
})

describe('wasm in the caller’s thread', () => {
  testRuntime(create, 1)
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
