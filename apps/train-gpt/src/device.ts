import { type CpuBackend, createCpuBackend, measurePeak } from '@tilegrad/kernels-cpu'
import type { Backend } from '@tilegrad/tensor'

/** The backend of a run, with what is measured on it. */
export interface Device {
  readonly backend: Backend
  /** Processor and driver, for people. */
  readonly description: string
  /** Float32 operations per second: the best measured so far, since whatever else the machine does can only lower it. */
  readonly peakFlops: number
  /** Measures the peak once more; for moments when no kernel runs. */
  measurePeak(): Promise<void>
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
  let { flopsPerSecond: peakFlops } = await measurePeak(backend)
  return {
    backend,
    description: `${backend.info.device}, ${backend.info.driver}`,
    get peakFlops() {
      return peakFlops
    },
    async measurePeak() {
      peakFlops = Math.max(peakFlops, (await measurePeak(backend)).flopsPerSecond)
    },
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
