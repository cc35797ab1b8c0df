import { ArgumentError, type BackendInfo, DeviceError } from '@tilegrad/tensor'
import { WebGPUBackend } from './backend'
import type { AttentionTiles } from './kernel-context'
import { forwardTileNames } from './kernels/attention-tiles'
import { findGPU } from './node-gpu'
import { webgpuDeviceRequirements } from './requirements'

/** Options of createWebGPUBackend. */
export interface WebGPUBackendOptions {
  /** A device to share. It is not destroyed, and its error handlers stay as they are. See `webgpuDeviceRequirements` for what to give it. */
  readonly device?: GPUDevice
  /** Where to ask for an adapter: `navigator.gpu`, or in Node Dawn from the npm package `webgpu`, unless given. Not with `device`. */
  readonly gpu?: GPU
  /** Which adapter to ask for, where there are several. Not with `device`. */
  readonly powerPreference?: GPUPowerPreference
  /** Which tiles attention uses instead of those that it would choose. */
  readonly attentionTiles?: AttentionTiles
}

/** As createWebGPUBackend, whose docstring applies. */
export async function createBackend(options: WebGPUBackendOptions): Promise<WebGPUBackend> {
  checkOptions(options)
  const { device, attentionTiles } = options
  if (device) return new WebGPUBackend(infoOf(device, device.adapterInfo), device, false, attentionTiles)
  const adapter = await requestAdapter(options)
  const own = await adapter.requestDevice({ label: 'tilegrad', ...webgpuDeviceRequirements(adapter) }).catch((cause) => {
    throw new DeviceError(`createWebGPUBackend: the adapter ${describe(adapter.info)} gives no device: ${cause}`, { cause })
  })
  return new WebGPUBackend(infoOf(own, adapter.info), own, true, attentionTiles)
}

function checkOptions(options: WebGPUBackendOptions): void {
  const fn = 'createWebGPUBackend'
  const { device, gpu, powerPreference, attentionTiles } = options
  const unknown = Object.keys(options).find((name) => !['device', 'gpu', 'powerPreference', 'attentionTiles'].includes(name))
  if (unknown) throw new ArgumentError(fn, 'options must be among device, gpu, powerPreference, attentionTiles', `'${unknown}'`)
  if (device && (gpu || powerPreference)) throw new ArgumentError(fn, 'device goes without gpu and powerPreference', 'both')
  if (device && typeof device.createBuffer !== 'function') throw new ArgumentError(fn, 'device must be a GPUDevice', String(device))
  if (attentionTiles?.forward !== undefined && !forwardTileNames().includes(attentionTiles.forward)) {
    throw new ArgumentError(fn, `attentionTiles.forward must be one of ${forwardTileNames().join(', ')}`, `'${attentionTiles.forward}'`)
  }
  if (powerPreference !== undefined && !['low-power', 'high-performance'].includes(powerPreference)) {
    throw new ArgumentError(fn, "powerPreference must be 'low-power' or 'high-performance'", `'${powerPreference}'`)
  }
}

async function requestAdapter({ gpu, powerPreference }: WebGPUBackendOptions): Promise<GPUAdapter> {
  const from = gpu ?? (await findGPU())
  const adapter = await from.requestAdapter(powerPreference ? { powerPreference } : {})
  if (adapter) return adapter
  throw new DeviceError(
    [
      'createWebGPUBackend: WebGPU found no adapter',
      'Possible fixes:',
      '- install a driver: Vulkan on Linux (Mesa has one in software: apt-get install mesa-vulkan-drivers), Metal or Direct3D 12 elsewhere',
      '- in a browser, see about:gpu (chrome://gpu) for why WebGPU is off',
      '- use @tilegrad/kernels-cpu, which needs no GPU',
    ].join('\n'),
  )
}

function infoOf(device: GPUDevice, adapter: GPUAdapterInfo | undefined): BackendInfo {
  const has = (feature: string) => (device.features as ReadonlySet<string>).has(feature)
  return {
    name: 'webgpu',
    device: describe(adapter),
    driver: (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu ? 'WebGPU of the browser' : 'WebGPU (Dawn)',
    features: {
      f16: has('shader-f16'),
      subgroups: has('subgroups'),
      timestamps: has('timestamp-query'),
      workgroupMemory: device.limits.maxComputeWorkgroupStorageSize,
      invocations: device.limits.maxComputeInvocationsPerWorkgroup,
      bindingBytes: device.limits.maxStorageBufferBindingSize,
    },
  }
}

function describe(info: GPUAdapterInfo | undefined): string {
  const parts = [info?.vendor, info?.architecture, info?.description || info?.device]
  return parts.filter((part) => part).join(' ') || 'an adapter that does not say what it is'
}
