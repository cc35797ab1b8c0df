/// <reference types="@webgpu/types" />
import type { WebGPUBackend } from './backend'
import { createBackend, type WebGPUBackendOptions } from './create'

export type { WebGPUBackend } from './backend'
export type { WebGPUBackendOptions } from './create'
export type { AttentionTiles } from './kernel-context'
export type { AttentionShape } from './kernels/attention-tuning'
export { measurePeak, type WebGPUPeak } from './measure-peak'
export type { KernelProfile } from './profiler'
export { webgpuDeviceRequirements } from './requirements'
export type { WebGPUTensor } from './tensor'

/**
 * Starts a backend on a GPU: in browsers and workers through `navigator.gpu`, in Node through the npm package `webgpu` (an optional peer).
 *
 * @throws ArgumentError for options that do not fit; DeviceError if there is no WebGPU, no adapter or no device, with what to do
 */
export function createWebGPUBackend(options: WebGPUBackendOptions = {}): Promise<WebGPUBackend> {
  return createBackend(options)
}
