import { ArgumentError, type BackendInfo, DeviceError } from '@tilegrad/tensor'
import { WebGPUBackend } from './backend'
import type { AttentionTiles } from './kernel-context'
import { BACKWARD_VARIANTS } from './kernels/attention-backward-plan'
import { forwardTileNames } from './kernels/attention-tiles'
import { findGPU } from './node-gpu'
import { webgpuDeviceRequirements } from './requirements'
import { describeUnits, type MatrixUnits, matrixUnitsOf, type SubgroupMatrixConfig } from './subgroup-matrix'

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
  /**
   * Whether matmul and attention use subgroup matrices (Dawn's `chromium-experimental-subgroup-matrix`) where the adapter has some that kernels are made for;
   * `info.features.subgroupMatrix` says which. Experimental, and off unless asked for. Browsers need a flag for it: Chrome's is `--enable-unsafe-webgpu`.
   */
  readonly subgroupMatrix?: boolean
}

/** As createWebGPUBackend, whose docstring applies. */
export async function createBackend(options: WebGPUBackendOptions): Promise<WebGPUBackend> {
  checkOptions(options)
  const { device } = options
  if (device) return backendOn(device, device.adapterInfo, false, options)
  const adapter = await requestAdapter(options)
  const own = await adapter.requestDevice({ label: 'tilegrad', ...webgpuDeviceRequirements(adapter) }).catch((cause) => {
    throw new DeviceError(`createWebGPUBackend: the adapter ${describe(adapter.info)} gives no device: ${cause}`, { cause })
  })
  return backendOn(own, adapter.info, true, options)
}

function backendOn(device: GPUDevice, adapter: GPUAdapterInfo | undefined, own: boolean, options: WebGPUBackendOptions): WebGPUBackend {
  const units = options.subgroupMatrix ? unitsOf(device, adapter) : {}
  return new WebGPUBackend(infoOf(device, adapter, units), device, own, options.attentionTiles, units)
}

/** What Dawn adds to GPUAdapterInfo. */
interface DawnAdapterInfo extends GPUAdapterInfo {
  readonly subgroupMatrixConfigs?: Iterable<SubgroupMatrixConfig>
}

function unitsOf(device: GPUDevice, adapter: DawnAdapterInfo | undefined): MatrixUnits {
  const has = (feature: string) => (device.features as ReadonlySet<string>).has(feature)
  const maxSubgroupSize = adapter?.subgroupMaxSize
  if (!adapter?.subgroupMatrixConfigs || !maxSubgroupSize || !has('chromium-experimental-subgroup-matrix')) return {}
  const configs = [...adapter.subgroupMatrixConfigs].filter(({ componentType }) => componentType !== 'f16' || has('shader-f16'))
  return matrixUnitsOf(configs, maxSubgroupSize, device.limits.maxComputeInvocationsPerWorkgroup)
}

function checkOptions(options: WebGPUBackendOptions): void {
  const fn = 'createWebGPUBackend'
  const { device, gpu, powerPreference, attentionTiles, subgroupMatrix } = options
  const known = ['device', 'gpu', 'powerPreference', 'attentionTiles', 'subgroupMatrix']
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown) throw new ArgumentError(fn, `options must be among ${known.join(', ')}`, `'${unknown}'`)
  if (subgroupMatrix !== undefined && typeof subgroupMatrix !== 'boolean') {
    throw new ArgumentError(fn, 'subgroupMatrix must be true or false', String(subgroupMatrix))
  }
  if (device && (gpu || powerPreference)) throw new ArgumentError(fn, 'device goes without gpu and powerPreference', 'both')
  if (device && typeof device.createBuffer !== 'function') throw new ArgumentError(fn, 'device must be a GPUDevice', String(device))
  if (attentionTiles?.forward !== undefined && !forwardTileNames().includes(attentionTiles.forward)) {
    throw new ArgumentError(fn, `attentionTiles.forward must be one of ${forwardTileNames().join(', ')}`, `'${attentionTiles.forward}'`)
  }
  if (attentionTiles?.backward !== undefined && !BACKWARD_VARIANTS.includes(attentionTiles.backward)) {
    throw new ArgumentError(fn, `attentionTiles.backward must be one of ${BACKWARD_VARIANTS.join(', ')}`, `'${attentionTiles.backward}'`)
  }
  if (powerPreference !== undefined && !['low-power', 'high-performance'].includes(powerPreference)) {
    throw new ArgumentError(fn, "powerPreference must be 'low-power' or 'high-performance'", `'${powerPreference}'`)
  }
}

async function requestAdapter({ gpu, powerPreference, subgroupMatrix = false }: WebGPUBackendOptions): Promise<GPUAdapter> {
  const from = gpu ?? (await findGPU({ unsafe: subgroupMatrix }))
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

function infoOf(device: GPUDevice, adapter: GPUAdapterInfo | undefined, units: MatrixUnits): BackendInfo {
  const has = (feature: string) => (device.features as ReadonlySet<string>).has(feature)
  return {
    name: 'webgpu',
    device: describe(adapter),
    driver: (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu ? 'WebGPU of the browser' : 'WebGPU (Dawn)',
    features: {
      f16: has('shader-f16'),
      subgroups: has('subgroups'),
      subgroupMatrix: describeUnits(units),
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
