import { type CpuBackend, createCpuBackend, measurePeak } from '@tilegrad/kernels-cpu'
import type { Backend } from '@tilegrad/tensor'

/** The backend of a run, with what is measured on it. */
export interface Device {
  readonly backend: Backend
  /** Processor and driver, for people. */
  readonly description: string
  /** Measured float32 operations per second. */
  readonly peakFlops: number
  startProfile(): Promise<void>
  /** Attention's share of the kernel time since startProfile(), 0..1. */
  stopProfile(): Promise<{ attentionShare: number }>
}

export interface DeviceOptions {
  readonly backend: 'cpu'
  readonly runtime: 'auto' | 'native' | 'wasm'
  readonly threads?: number | undefined
}

export function openBackend({ runtime, threads }: DeviceOptions): Promise<CpuBackend> {
  return createCpuBackend({ runtime, ...(threads === undefined ? {} : { threads }) })
}

/** Starts the backend and measures what it does at best. */
export async function openDevice(options: DeviceOptions): Promise<Device> {
  const backend = await openBackend(options)
  const { flopsPerSecond } = await measurePeak(backend)
  return {
    backend,
    description: `${backend.info.device}, ${backend.info.driver}`,
    peakFlops: flopsPerSecond,
    startProfile: () => backend.startProfile(),
    async stopProfile() {
      let attention = 0
      let total = 0
      for (const [kernel, { milliseconds }] of await backend.stopProfile()) {
        total += milliseconds
        // Standard attention shows its softmax only: its products are matmuls like all others.
        if (/^(attention|softmax)/.test(kernel)) attention += milliseconds
      }
      return { attentionShare: total > 0 ? attention / total : 0 }
    },
  }
}
