import { inChild } from '../child'
import { type Contender, type WebGPUVariant, webgpuPeers, webgpuVariants } from '../job'
import { matrixUnits, openWebGPU, typeOf } from './backend'

/** What WebGPU runs on here. */
export interface Adapter {
  readonly device: string
  /** The processor does the work of the GPU. */
  readonly software: boolean
  readonly f16: boolean
  readonly subgroupMatrix: boolean
}

export const webgpuContenders: readonly Contender[] = [...webgpuVariants, 'standard-webgpu', ...webgpuPeers]

/** The adapter, or why there is none. Asked in a process of its own, which a driver may end. */
export function findAdapter(): Promise<Adapter | string> {
  return inChild({ kind: 'adapter', contender: 'webgpu' }, new AbortController().signal).catch((error: unknown) =>
    error instanceof Error ? error.message : String(error),
  )
}

export async function describeAdapter(): Promise<Adapter> {
  const backend = await openWebGPU('webgpu')
  const { device, info } = backend
  const has = (feature: string) => (device.features as ReadonlySet<string>).has(feature)
  return {
    device: info.device,
    software: device.adapterInfo.isFallbackAdapter,
    f16: has('shader-f16'),
    subgroupMatrix: has('chromium-experimental-subgroup-matrix'),
  }
}

/** Why a contender cannot run on it, or null. */
export function lackOf(adapter: Adapter | string, contender: Contender): string | null {
  if (typeof adapter === 'string') return adapter
  if (typeOf(contender as WebGPUVariant) === 'f16' && !adapter.f16) return `${adapter.device} lacks shader-f16`
  if (matrixUnits(contender) && !adapter.subgroupMatrix) return `${adapter.device} lacks subgroup matrices`
  return null
}
