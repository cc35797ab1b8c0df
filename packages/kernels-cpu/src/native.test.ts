import { DeviceError } from '@tilegrad/tensor'
import { testBackend, testDeterminism } from '@tilegrad/testing'
import { describe, expect, test } from 'vitest'
import { declareSuite } from '../../../suite.shared'
import { createBackend } from './create'
import { createCpuBackend } from './index'
import { nativeIsas, whyNoNative } from './native'
import { type Create, testRuntime } from './runtime.testing'

const isas = await nativeIsas()
declareSuite('cpu-native', await whyNoNative())

const create: Create = (options) => createCpuBackend({ ...options, runtime: 'native' })

describe.skipIf(isas.length === 0)('native', () => {
  isas.forEach((isa, index) => {
    // The best one thoroughly; the others differ from it in the width of vectors only.
    testBackend(`conformance of ${isa}`, () => createBackend({ runtime: 'native' }, isa), index === 0 ? {} : { sizes: 'small' })
  })
  testDeterminism('determinism', (threads) => create({ threads }))

  describe.each([1, 3])('with %d threads', (threads) => {
    testRuntime(create, threads)
  })

  test.each(isas)('says what it runs: %s', async (isa) => {
    const backend = await createBackend({ runtime: 'native', threads: 2 }, isa)
    expect(backend.info).toMatchObject({
      name: 'cpu',
      driver: `native ${isa}, 2 threads`,
      features: { runtime: 'native', isa, threads: 2 },
    })
    await backend.dispose()
  })

  test("'auto' is native, with the best instruction set", async () => {
    const backend = await createCpuBackend()
    expect(backend.info.features).toMatchObject({ runtime: 'native', isa: isas[0] })
    await backend.dispose()
  })

  test('an instruction set that the processor lacks is refused', async () => {
    await expect(createBackend({ runtime: 'native' }, 'mmx')).rejects.toThrow(DeviceError)
  })
})

test('options out of range are refused', async () => {
  await expect(createCpuBackend({ threads: 0 })).rejects.toThrow('createCpuBackend: threads must be an integer in 1..256, got 0')
  await expect(createCpuBackend({ runtime: 'gpu' as 'wasm' })).rejects.toThrow(
    "createCpuBackend: runtime must be 'auto', 'native' or 'wasm', got gpu",
  )
  await expect(createCpuBackend({ maxBytes: 0 })).rejects.toThrow('createCpuBackend: maxBytes must be > 0, got 0')
})
