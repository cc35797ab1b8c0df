import { DeviceError } from '@tilegrad/tensor'
import { afterEach, expect, test, vi } from 'vitest'

afterEach(() => {
  vi.doUnmock('webgpu')
  vi.resetModules()
  vi.unstubAllGlobals()
})

test('without the npm package webgpu, Node is told what to install', async () => {
  vi.doMock('webgpu', () => {
    throw new Error("Cannot find package 'webgpu'")
  })
  const { findGPU } = await import('./node-gpu')
  const error = await findGPU().catch((reason) => reason)
  expect(error.name).toBe(new DeviceError('').name)
  expect(error.message).toMatch(/^createWebGPUBackend: in Node, WebGPU needs the npm package 'webgpu', which could not be loaded: .*\n/)
  expect(error.message).toContain('- install it: npm install webgpu')
})

test("the browser's WebGPU goes first", async () => {
  const gpu = { requestAdapter: async () => null }
  vi.stubGlobal('navigator', { gpu })
  const { findGPU } = await import('./node-gpu')
  expect(await findGPU()).toBe(gpu)
})
