import { DeviceError, DisposedError, OutOfMemoryError, type Tensor, UnsupportedError } from '@tilegrad/tensor'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend, webgpuDeviceRequirements } from './index'
import { findGPU } from './node-gpu'
import { defineShader } from './shader'

let gpu: GPU
beforeAll(async () => {
  gpu = await findGPU()
})

let backend: WebGPUBackend
afterEach(() => backend?.dispose())

async function requestAdapter(): Promise<GPUAdapter> {
  const adapter = await gpu.requestAdapter()
  if (!adapter) throw new Error('no adapter')
  return adapter
}

/** A kernel of one's own: a shader that compiles, or does not. */
const double = defineShader(
  'double',
  `struct Params { count: u32, factor: f32 }
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;
@compute @workgroup_size(64)
fn double(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.count) { x[id.x] *= params.factor; }
}`,
  [{}],
)
const broken = defineShader(
  'broken',
  '@group(0) @binding(0) var<storage, read_write> x: array<f32>;\nfn breaks() { x[0] = true; }\n@compute @workgroup_size(1) fn main() { breaks(); }',
  [{}],
)

function runDouble(x: Tensor, factor = 2, count = 4): void {
  const workgroups = [1, 1, 1] as const
  backend.context.run({ shader: double, entry: 'double', constants: {}, bindings: { x }, params: { count, factor }, workgroups })
}

function runBroken(x: Tensor): void {
  backend.context.run({ shader: broken, entry: 'main', constants: {}, bindings: { x }, params: {}, workgroups: [1, 1, 1] })
}

describe('making a backend', () => {
  test('options that do not fit are refused', async () => {
    await expect(createWebGPUBackend({ powerPreference: 'none' as 'low-power' })).rejects.toThrow(
      "createWebGPUBackend: powerPreference must be 'low-power' or 'high-performance', got 'none'",
    )
    await expect(createWebGPUBackend({ threads: 2 } as object)).rejects.toThrow("got 'threads'")
    await expect(createWebGPUBackend({ device: {} as GPUDevice })).rejects.toThrow('device must be a GPUDevice')
  })

  test('no adapter is an error that says what to do', async () => {
    const none = { requestAdapter: async () => null } as unknown as GPU
    await expect(createWebGPUBackend({ gpu: none })).rejects.toThrow(/no adapter\nPossible fixes:\n- install a driver/)
    await expect(createWebGPUBackend({ gpu: none })).rejects.toBeInstanceOf(DeviceError)
  })

  test('what the adapter has is asked for and said', async () => {
    const adapter = await requestAdapter()
    const { requiredFeatures, requiredLimits } = webgpuDeviceRequirements(adapter)
    for (const feature of requiredFeatures) expect(adapter.features.has(feature)).toBe(true)
    expect(requiredLimits.maxStorageBufferBindingSize).toBe(adapter.limits.maxStorageBufferBindingSize)
    backend = await createWebGPUBackend({ gpu })
    expect(backend.info).toMatchObject({ name: 'webgpu', driver: 'WebGPU (Dawn)', features: { f16: adapter.features.has('shader-f16') } })
    expect(backend.device.limits.maxComputeWorkgroupStorageSize).toBe(adapter.limits.maxComputeWorkgroupStorageSize)
  })
})

describe("a caller's device", () => {
  test('is shared, not destroyed, and hears nothing of our errors', async () => {
    const device = await (await requestAdapter()).requestDevice()
    const heard: string[] = []
    device.addEventListener('uncapturederror', ({ error }) => heard.push(error.message))
    backend = await createWebGPUBackend({ device })
    const x = backend.tensor([1, 2], [2])
    runBroken(x)
    await expect(x.read()).rejects.toThrow("kernel 'main'")
    await backend.dispose()
    let lost = false
    device.lost.then(() => {
      lost = true
    })
    await device.queue.onSubmittedWorkDone()
    expect({ lost, heard }).toEqual({ lost: false, heard: [] })
    // Its own errors still reach it.
    device.createBuffer({ size: 4, usage: 0x1 | 0x2 })
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(heard.length).toBe(1)
    device.destroy()
  })

  test('keeps its handlers and scopes: they hear of its own errors, however ours lie in between', async () => {
    const device = await (await requestAdapter()).requestDevice()
    const heard: string[] = []
    device.addEventListener('uncapturederror', () => heard.push('listener'))
    device.onuncapturederror = () => heard.push('property')
    const settled = () => new Promise((resolve) => setTimeout(resolve, 50))
    const err = () => device.createBuffer({ size: 4, usage: 0x1 | 0x2 })
    backend = await createWebGPUBackend({ device })
    const x = backend.tensor([1, 2], [2])

    // Ours: a buffer that cannot be made, and is written and computed with; a call of a destroyed buffer.
    const createBuffer = device.createBuffer.bind(device)
    device.createBuffer = (descriptor) => {
      device.createBuffer = createBuffer
      return createBuffer({ ...descriptor, usage: 0 })
    }
    const y = backend.tensor([3, 4, 5], [3])
    await expect(backend.kernels.scale(y, 2).read()).rejects.toBeInstanceOf(OutOfMemoryError)
    await expect(y.read()).rejects.toBeInstanceOf(OutOfMemoryError)
    const buffer = createBuffer({ size: 16, usage: 0x80 | 0x4 | 0x8 })
    const lost = backend.fromGPUBuffer(buffer, [4])
    buffer.destroy()
    await expect(backend.kernels.scale(lost, 2).read()).rejects.toBeInstanceOf(DeviceError)
    await settled()
    expect(heard).toEqual([])

    // The caller's, while work of ours is enqueued and under way.
    const doubled = backend.kernels.scale(x, 2)
    err()
    const reading = doubled.read()
    err()
    expect([...(await reading)]).toEqual([2, 4])
    await settled()
    expect(heard.sort()).toEqual(['listener', 'listener', 'property', 'property'])

    device.pushErrorScope('validation')
    const tripled = backend.kernels.scale(x, 3)
    err()
    await backend.flush()
    expect((await device.popErrorScope())?.message).toContain('usage')
    expect([...(await tripled.read())]).toEqual([3, 6])
    expect(heard.length).toBe(4)

    await backend.dispose()
    expect(device.onuncapturederror).not.toBeNull()
    const own = createBuffer({ size: 4, usage: 0x4 | 0x8 })
    device.queue.writeBuffer(own, 0, new Uint8Array(4))
    await device.queue.onSubmittedWorkDone()
    await settled()
    expect(heard.length).toBe(4)
    device.destroy()
  })

  test('with default limits runs f32, and refuses f16 by name', async () => {
    const device = await (await requestAdapter()).requestDevice()
    backend = await createWebGPUBackend({ device })
    const x = backend.tensor([1, 2, 3, 4], [2, 2])
    expect([...(await backend.kernels.matmul(x, x).read())]).toEqual([7, 10, 15, 22])
    const half = backend.kernels.cast(x, 'f16')
    expect([...(await backend.kernels.cast(half, 'f32').read())]).toEqual([1, 2, 3, 4])
    expect(() => backend.kernels.add(half, half)).toThrow("webgpu: no kernel 'add' for f16 on a device without the feature 'shader-f16'")
    await expect(backend.profile(() => backend.kernels.add(x, x))).rejects.toThrow(UnsupportedError)
    device.destroy()
  })
})

describe('GPU buffers', () => {
  test('go in and come out without a copy', async () => {
    backend = await createWebGPUBackend()
    const { device } = backend
    const buffer = device.createBuffer({ size: 64, usage: 0x80 | 0x4 | 0x8 })
    device.queue.writeBuffer(buffer, 16, Float32Array.of(1, 2, 3, 4))
    const bytes = backend.memory().bytes
    const x = backend.fromGPUBuffer(buffer, [2, 2], 'f32', { offset: 16 })
    expect(backend.memory().bytes).toBe(bytes)
    expect([...(await x.read())]).toEqual([1, 2, 3, 4])
    expect(x.gpuBuffer).toBe(buffer)
    expect(x.permute([1, 0]).gpuBuffer).toBe(buffer)

    const y = backend.kernels.add(x, x, { out: x }) as typeof x
    await backend.flush()
    const staging = device.createBuffer({ size: 16, usage: 0x1 | 0x8 })
    const encoder = device.createCommandEncoder()
    encoder.copyBufferToBuffer(y.gpuBuffer, y.byteOffset, staging, 0, 16)
    device.queue.submit([encoder.finish()])
    await staging.mapAsync(1)
    expect([...new Float32Array(staging.getMappedRange())]).toEqual([2, 4, 6, 8])
    x.dispose()
    // The buffer is still the caller's.
    device.queue.writeBuffer(buffer, 0, Float32Array.of(9))
    expect([...(await backend.fromGPUBuffer(buffer, [1]).read())]).toEqual([9])
  })

  test('are refused where they cannot hold the tensor', async () => {
    backend = await createWebGPUBackend()
    const buffer = backend.device.createBuffer({ size: 64, usage: 0x80 | 0x4 | 0x8 })
    expect(() => backend.fromGPUBuffer(buffer, [17])).toThrow('fromGPUBuffer: a buffer of at least 68 bytes, got 64')
    expect(() => backend.fromGPUBuffer(buffer, [2], 'f16', { offset: 2 })).toThrow('offset must be a multiple of 4 bytes, got 2')
    const readOnly = backend.device.createBuffer({ size: 64, usage: 0x80 })
    expect(() => backend.fromGPUBuffer(readOnly, [1])).toThrow('usages STORAGE, COPY_SRC and COPY_DST')
  })
})

describe('order', () => {
  test('memory that is freed and reused while it is still in use keeps its elements until then', async () => {
    backend = await createWebGPUBackend()
    const results = []
    for (let i = 0; i < 50; i++) {
      const x = backend.tensor(new Float32Array(1000).fill(i), [1000])
      const y = backend.kernels.scale(x, 2)
      x.dispose()
      const z = backend.kernels.add(y, y)
      y.dispose()
      results.push(z.read())
      z.dispose()
    }
    for (const [i, result] of (await Promise.all(results)).entries()) expect(new Set(result)).toEqual(new Set([4 * i]))
  })

  test('more calls than command buffers hold are done in order, and read() gives the elements of its moment', async () => {
    backend = await createWebGPUBackend()
    const x = backend.tensor([1, 0, 0, 0], [4])
    const one = backend.tensor([1, 1, 1, 1], [4])
    const reads = []
    for (let i = 0; i < 1000; i++) {
      backend.kernels.add(x, one, { out: x })
      if (i % 300 === 0) reads.push(x.read())
    }
    expect([...(await x.read())]).toEqual([1001, 1000, 1000, 1000])
    expect((await Promise.all(reads)).map(([first]) => first)).toEqual([2, 302, 602, 902])
  })

  test('an input that shares its buffer with a result is read as it was', async () => {
    backend = await createWebGPUBackend()
    const x = backend.tensor(
      Float32Array.from({ length: 200 }, (_, i) => i),
      [2, 100],
    )
    const [low, high] = [x.slice([0], [1]), x.slice([1], [2])] as const
    backend.kernels.add(low, high, { out: low })
    expect([...(await x.read())]).toEqual(Array.from({ length: 200 }, (_, i) => (i < 100 ? 2 * i + 100 : i)))
    // Two results in one buffer, whose bindings overlap as they begin at aligned offsets.
    const grads = backend.zeros([2, 3])
    const [dweight, dbias] = [grads.slice([0], [1]).reshape([3]), grads.slice([1], [2]).reshape([3])] as const
    const input = backend.tensor([1, 2, 4, -1, 0, 2], [2, 3])
    const ones = backend.tensor([1, 1, 1], [3])
    const { mean, rstd } = backend.kernels.layerNormForward(input, ones, ones)
    const expected = backend.kernels.layerNormBackward(input, input, ones, mean, rstd)
    backend.kernels.layerNormBackward(input, input, ones, mean, rstd, { dweightInto: dweight, dbiasInto: dbias })
    expect([...(await grads.read())]).toEqual([...(await expected.dweight.read()), ...(await expected.dbias.read())])
  })
})

describe('errors', () => {
  test('a shader that does not compile rejects what depends on it, with its kernel and line, and nothing after', async () => {
    backend = await createWebGPUBackend()
    const x = backend.tensor([1, 2, 3, 4], [4])
    const y = backend.tensor([5], [1])
    runBroken(x)
    const [read, sync] = await Promise.allSettled([x.read(), backend.sync()])
    for (const result of [read, sync]) {
      expect(result).toMatchObject({ status: 'rejected' })
      expect((result as PromiseRejectedResult).reason).toBeInstanceOf(DeviceError)
      expect(String((result as PromiseRejectedResult).reason)).toMatch(
        /kernel 'main' of broken\.wgsl \[\] does not compile:\nbroken\.wgsl:2:\d+: .*\n {2}fn breaks\(\)/,
      )
    }
    await backend.sync()
    expect([...(await y.read())]).toEqual([5])
    // Its elements are lost for good, and nobody computes on with them.
    await expect(x.read()).rejects.toThrow("kernel 'main'")
    expect(() => backend.kernels.scale(x, 2)).toThrow("kernel 'main'")
    const bytes = backend.memory().bytes
    x.dispose()
    expect(backend.memory().bytes).toBeLessThan(bytes)
    expect([...(await backend.zeros([4]).read())]).toEqual([0, 0, 0, 0])
  })

  test('an invalid call rejects the next read with the name of its kernel', async () => {
    backend = await createWebGPUBackend()
    const x = backend.tensor([1, 2, 3, 4], [4])
    runDouble(x)
    await backend.sync()
    backend.fromGPUBuffer(x.gpuBuffer, [4]).gpuBuffer.destroy()
    runDouble(x)
    await expect(backend.sync()).rejects.toThrow(DeviceError)
    await backend.sync()
    await expect(x.read()).rejects.toThrow(DeviceError)
  })

  test('more bytes than a buffer may have throws OutOfMemoryError at once', async () => {
    backend = await createWebGPUBackend()
    const bytes = backend.memory().bytes
    expect(() => backend.empty([2 ** 40])).toThrow(OutOfMemoryError)
    expect(backend.memory().bytes).toBe(bytes)
  })

  test('a buffer that the device cannot provide rejects the next read with the name of the kernel', async () => {
    backend = await createWebGPUBackend()
    const x = backend.tensor([1, 2, 3, 4], [4])
    await backend.sync()
    const { device } = backend
    const pop = device.popErrorScope.bind(device)
    // The next buffer is one that the device has no memory for.
    device.popErrorScope = async () => {
      device.popErrorScope = pop
      await pop()
      return { message: 'out of memory' } as GPUError
    }
    const y = backend.kernels.add(x.reshape([4, 1, 1]).permute([1, 2, 0]), x.reshape([1, 1, 4]))
    await expect(y.read()).rejects.toThrow(/webgpu: add: out of memory: \d+ bytes requested with \d+ bytes held/)
    await expect(y.read()).rejects.toBeInstanceOf(OutOfMemoryError)
    expect([...(await x.read())]).toEqual([1, 2, 3, 4])
  })

  test('a tensor beyond the binding limit is refused by name, or bound in pieces, and never wrong', async () => {
    const device = await (await requestAdapter()).requestDevice()
    const most = device.limits.maxStorageBufferBindingSize
    backend = await createWebGPUBackend({ device })
    const rows = 2 ** 12
    const columns = most / 4 / rows + 1
    const data = Float32Array.from({ length: rows * columns }, (_, i) => i % 8191)
    const x = backend.tensor(data, [rows, columns])
    expect(() => backend.kernels.sumRows(x)).toThrow(
      `webgpu: no kernel 'sumRows' for x of ${most + 4 * rows} bytes: this device binds at most ${most}; split the call`,
    )
    // Elementwise kernels cut it up, also in place.
    const doubled = backend.kernels.scale(x, 2)
    backend.kernels.add(doubled, x, { out: doubled })
    const tripled = await doubled.read()
    expect(tripled.findIndex((value: number, i: number) => value !== 3 * (data[i] as number))).toBe(-1)
    device.destroy()
  })

  test('a lost device rejects what is pending and all that comes, and a new backend takes over', async () => {
    backend = await createWebGPUBackend()
    const x = backend.tensor([1, 2, 3, 4], [4])
    const copy = await x.read()
    const y = backend.kernels.scale(x, 2)
    const pending = Promise.allSettled([y.read(), backend.sync()])
    backend.device.destroy()
    for (const result of await pending) {
      expect(result).toMatchObject({ status: 'rejected' })
      expect(String((result as PromiseRejectedResult).reason)).toMatch(/DeviceError: webgpu: the device was lost/)
    }
    await expect(y.read()).rejects.toThrow('restore them from copies on the host')
    const next = await createWebGPUBackend()
    const restored = next.tensor(copy, [4])
    expect([...(await next.kernels.scale(restored, 2).read())]).toEqual([2, 4, 6, 8])
    await next.dispose()
  })
})

describe('life', () => {
  test('dispose() rejects pending reads, and everything after it throws DisposedError', async () => {
    backend = await createWebGPUBackend()
    const x = backend.tensor([1], [1])
    const pending = Promise.allSettled([x.read(), backend.sync()])
    await Promise.all([backend.dispose(), backend.dispose()])
    for (const result of await pending) expect((result as PromiseRejectedResult).reason).toBeInstanceOf(DisposedError)
    expect(() => backend.tensor([1], [1])).toThrow('tensor: the webgpu backend is disposed')
    expect(() => backend.kernels.scale(x, 2)).toThrow('scale: the webgpu backend is disposed')
    await expect(x.read()).rejects.toThrow(DisposedError)
    x.dispose()
  })

  test('freed buffers are used again, and given back beyond the peak', async () => {
    backend = await createWebGPUBackend()
    const x = backend.zeros([1000])
    const { gpuBuffer } = x
    x.dispose()
    expect(backend.zeros([1000]).gpuBuffer).toBe(gpuBuffer)
    expect(backend.memory().bytes).toBeGreaterThanOrEqual(4000)
  })
})

test('a profile counts calls and GPU time by kernel', async () => {
  backend = await createWebGPUBackend()
  const x = backend.zeros([1000])
  const profile = await backend.profile(() => {
    for (let i = 0; i < 300; i++) backend.kernels.scale(x, 2, { out: x })
    backend.kernels.add(x, x).dispose()
  })
  backend.kernels.scale(x, 2, { out: x })
  expect([...profile.keys()].sort()).toEqual(['add', 'scale'])
  expect(profile.get('scale')?.calls).toBe(300)
  expect(profile.get('scale')?.milliseconds).toBeGreaterThan(0)
  expect((await backend.profile(() => {})).size).toBe(0)
})
