import { type Tensor, UnsupportedError } from '@tilegrad/tensor'
import { conformanceCases, createOracle, type Oracle } from '@tilegrad/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend, webgpuDeviceRequirements } from './index'
import { findGPU } from './node-gpu'

/** A device that seems to bind next to nothing, so that the suite's small tensors are cut up or refused: `run` lets no binding pass that is larger. */
async function deviceThatBinds(bytes: number): Promise<GPUDevice> {
  const adapter = await (await findGPU()).requestAdapter()
  if (!adapter) throw new Error('no adapter')
  const device = await adapter.requestDevice(webgpuDeviceRequirements(adapter))
  const limits: Record<string, unknown> = {}
  for (const name in device.limits) limits[name] = device.limits[name as keyof GPUSupportedLimits]
  Object.defineProperty(device, 'limits', { value: { ...limits, maxStorageBufferBindingSize: bytes } })
  return device
}

const both = conformanceCases({ dtypes: ['f32', 'f16'], sizes: 'small' })
/** What `run` answers to what cannot be cut, on average one case in `few`. */
const none = Number.POSITIVE_INFINITY

// Each group has a device of its own: bind groups of so many small pieces are freed with it, and not before the garbage collector comes.
describe.each([
  { group: /^matmul f/, bytes: 12_000, few: none },
  { group: /^embedding f/, bytes: 2048, few: none },
  { group: /^(cross|linearCross)Entropy f/, bytes: 8192, few: none },
  { group: /^softmax f/, bytes: 8192, few: none },
  { group: /^(cast|copy f32|copy f16|sumSquares f32)$/, bytes: 20_000, few: none },
  // Strided tensors of elementwise kernels.
  { group: /^(add and scale|gelu|swiglu|adamwStep) f32/, bytes: 2048, few: 3 },
  // Those of which one head is too large.
  { group: /^attention (ALiBi|bias|sink|dropout|varlen|block mask|pairs) f32/, bytes: 80 * 1024, few: 4 },
])('$group on a device that binds $bytes bytes', ({ group, bytes, few }) => {
  const cases = both.filter((made) => group.test(made.group))
  let device: GPUDevice
  let backend: WebGPUBackend
  let oracle: Oracle
  /** Tensors that a case made: one that is refused leaves them behind. */
  let made: Tensor[] = []
  let refused = 0
  beforeAll(async () => {
    device = await deviceThatBinds(bytes)
    backend = await createWebGPUBackend({ device })
    oracle = createOracle()
    const track = backend.scopes.track.bind(backend.scopes)
    backend.scopes.track = (tensor) => {
      made.push(tensor)
      track(tensor)
    }
  })
  afterAll(async () => {
    await Promise.all([backend, oracle?.exact, oracle?.naive].map((used) => used?.dispose()))
    device?.destroy()
  })

  it.each(cases)('$group: $name', async ({ run }) => {
    made = []
    try {
      await run(backend, oracle)
    } catch (error) {
      if (!(error instanceof UnsupportedError)) throw error
      expect(error.message).toContain(`this device binds at most ${bytes}; split the call`)
      for (const tensor of made) tensor.dispose()
      refused++
    }
  })

  it('refuses few', () => {
    expect(cases.length).toBeGreaterThan(5)
    expect(refused).toBeLessThanOrEqual(cases.length / few)
  })
})
