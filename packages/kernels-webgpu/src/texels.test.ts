import { OutOfMemoryError, type Tensor, UnsupportedError } from '@tilegrad/tensor'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend } from './index'
import type { Texels } from './kernel-context'
import type { KernelRunner } from './kernel-runner'
import { findGPU } from './node-gpu'
import { defineShader } from './shader'
import { texelsWgsl } from './shaders/libraries'

let gpu: GPU
beforeAll(async () => {
  gpu = await findGPU()
})

let backend: WebGPUBackend
afterEach(() => backend?.dispose())

const gather = defineShader(
  'gather',
  `struct Params { count: u32 }
@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;
@compute @workgroup_size(64)
fn gather(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.count) { y[id.x] = texelOf(x, params.count - 1u - id.x); }
}`,
  [{}],
  [texelsWgsl],
)

describe('textures', () => {
  const count = 2500
  const bytes = 3 * 1024 * 16
  const numbers = () => Float32Array.from({ length: 4 * (count + 1) }, (_, i) => i)

  function gathered(x: Texels): Tensor {
    const y = backend.empty([count, 4])
    const workgroups = [Math.ceil(count / 64), 1, 1] as const
    backend.context.run({ shader: gather, entry: 'gather', constants: {}, bindings: { x, y }, params: { count }, workgroups })
    return y
  }

  test('hold the elements of tensors as they are at that moment, in rows, from an offset on', async () => {
    backend = await createWebGPUBackend({ gpu })
    const x = backend.tensor(numbers(), [count + 1, 4])
    const texels = backend.context.texels(x.slice([1, 0], [count + 1, 4]))
    backend.kernels.scale(x, 0, { out: x })
    const values = (await gathered(texels).read()) as Float32Array
    expect([...values]).toEqual(Array.from({ length: 4 * count }, (_, i) => 4 * (count - Math.floor(i / 4)) + (i % 4)))
  })

  test('count as memory while a kernel holds them, and are used again', async () => {
    backend = await createWebGPUBackend({ gpu })
    const textures: unknown[] = []
    const held: number[] = []
    const runner = backend.context as KernelRunner
    const x = backend.tensor(numbers(), [count + 1, 4])
    const before = backend.memory().bytes
    const { call } = runner.cleaned(
      {
        call: () => {
          textures.push(backend.context.texels(x).texture)
          held.push(backend.memory().bytes - before)
        },
      } as never,
      () => {},
    ) as unknown as { call(): void }
    call()
    call()
    expect(held).toEqual([bytes, bytes])
    expect(textures[1]).toBe(textures[0])
    expect(backend.memory()).toEqual({ bytes: before, peakBytes: before + bytes })
  })

  test('are refused beyond their limits, and where vectors are not whole', async () => {
    const adapter = await gpu.requestAdapter()
    const device = await adapter?.requestDevice({ requiredLimits: { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 } })
    if (!device) throw new Error('no adapter')
    backend = await createWebGPUBackend({ device })
    const { context } = backend
    expect(context.mostTexels).toBe(1024 * device.limits.maxTextureDimension2D)
    expect(() => context.texels(backend.empty([4 * (context.mostTexels + 1)]))).toThrow(UnsupportedError)
    expect(() => context.texels(backend.empty([6]))).toThrow('a contiguous f32 tensor of whole vectors, got f32 [6] from byte 0 on')
    expect(() => context.texels(backend.empty([8]).slice([2], [6]))).toThrow('from byte 8 on')
    expect(() => context.texels(backend.empty([8], 'f16'))).toThrow('got f16')
    await backend.dispose()
    device.destroy()
  })

  test('that the device cannot provide are an OutOfMemoryError of the next read', async () => {
    backend = await createWebGPUBackend({ gpu })
    const { device } = backend
    const createTexture = device.createTexture.bind(device)
    device.createTexture = (descriptor) => {
      device.createTexture = createTexture
      return createTexture({ ...descriptor, usage: 0 })
    }
    const x = backend.tensor(numbers(), [count + 1, 4])
    await expect(gathered(backend.context.texels(x)).read()).rejects.toBeInstanceOf(OutOfMemoryError)
    expect(((await gathered(backend.context.texels(x)).read()) as Float32Array)[4 * count - 4]).toBe(0)
  })
})
