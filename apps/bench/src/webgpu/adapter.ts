import { inChild } from '../child'
import { type Contender, webgpuPeers, webgpuVariants } from '../job'
import { matrixUnits, openWebGPU, typeOf } from './backend'

/** What WebGPU runs on here. */
export interface Adapter {
  readonly device: string
  /** The processor does the work of the GPU. */
  readonly software: boolean
  readonly f16: boolean
  /** The matrices that it multiplies, of each type that it does: `f16 16×16×16`, empty if of none. */
  readonly subgroupMatrix: string
}

export const webgpuContenders: readonly Contender[] = [...webgpuVariants, 'standard-webgpu', ...webgpuPeers]

/** The adapter, or why there is none. Asked in a process of its own, which a driver may end. */
export function findAdapter(): Promise<Adapter | string> {
  return inChild({ kind: 'adapter', contender: 'webgpu' }, new AbortController().signal).catch((error: unknown) =>
    error instanceof Error ? error.message : String(error),
  )
}

export async function describeAdapter(): Promise<Adapter> {
  const { device, info } = await openWebGPU('webgpu:subgroup-matrix')
  const { f16, subgroupMatrix } = info.features
  return {
    device: info.device,
    software: device.adapterInfo.isFallbackAdapter,
    f16: f16 === true,
    subgroupMatrix: String(subgroupMatrix || ''),
  }
}

/** Why a contender cannot run on it, or null. */
export function lackOf(adapter: Adapter | string, contender: Contender): string | null {
  if (typeof adapter === 'string') return adapter
  const type = typeOf(contender)
  if (type === 'f16' && !adapter.f16) return `${adapter.device} lacks shader-f16`
  if (matrixUnits(contender) && !adapter.subgroupMatrix.includes(type)) return `${adapter.device} lacks subgroup matrices of ${type}`
  return null
}
