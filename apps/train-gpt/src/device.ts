import { createCpuBackend, measurePeak } from '@tilegrad/kernels-cpu'
import type { Backend } from '@tilegrad/tensor'
import { UsageError } from './errors'

/** The backend of a run, with what is measured on it. */
export interface Device {
  readonly backend: Backend
  /** Processor or GPU, and driver, for people. */
  readonly description: string
  /** Float32 operations per second: the best measured so far, since whatever else the machine does can only lower it. */
  readonly peakFlops: number
  /** Measures the peak once more; for moments when no kernel runs. */
  measurePeak(): Promise<void>
  startProfile(): Promise<void>
  /** Attention's share of the kernel time since startProfile(), 0..1; null where the device measures no times. */
  stopProfile(): Promise<{ attentionShare: number | null }>
  /** Whether the device is gone and its tensors with it, so that only another one can go on. */
  isLost(): Promise<boolean>
}

export interface DeviceOptions {
  readonly backend: 'cpu' | 'webgpu'
  readonly runtime: 'auto' | 'native' | 'wasm'
  readonly threads?: number | undefined
}

/** What a kind of backend gives a run, beyond the contract. */
interface Opened {
  readonly backend: Backend
  measurePeak(): Promise<{ flopsPerSecond: number }>
  /** Undefined where the device measures no times. */
  readonly profiler: Profiler | undefined
  isLost(): Promise<boolean>
}

interface Profiler {
  startProfile(): Promise<void>
  stopProfile(): Promise<Map<string, { readonly milliseconds: number }>>
}

/** Starts the backend alone. @throws UsageError if this machine has no such device */
export async function openBackend(options: DeviceOptions): Promise<Backend> {
  return (await open(options)).backend
}

/** Starts the backend and measures what it does at best. @throws UsageError if this machine has no such device */
export async function openDevice(options: DeviceOptions): Promise<Device> {
  const { backend, measurePeak, profiler, isLost } = await open(options)
  let { flopsPerSecond: peakFlops } = await measurePeak()
  return {
    backend,
    description: `${backend.info.device}, ${backend.info.driver}`,
    get peakFlops() {
      return peakFlops
    },
    async measurePeak() {
      peakFlops = Math.max(peakFlops, (await measurePeak()).flopsPerSecond)
    },
    async startProfile() {
      await profiler?.startProfile()
    },
    async stopProfile() {
      return { attentionShare: profiler ? attentionShare(await profiler.stopProfile()) : null }
    },
    isLost,
  }
}

function attentionShare(profile: Map<string, { readonly milliseconds: number }>): number {
  let attention = 0
  let total = 0
  for (const [kernel, { milliseconds }] of profile) {
    total += milliseconds
    // Standard attention shows its softmax only: its products are matmuls like all others.
    if (/^(attention|softmax)/.test(kernel)) attention += milliseconds
  }
  return total > 0 ? attention / total : 0
}

function open(options: DeviceOptions): Promise<Opened> {
  return options.backend === 'webgpu' ? openWebGPU() : openCpu(options)
}

async function openCpu({ runtime, threads }: DeviceOptions): Promise<Opened> {
  const backend = await createCpuBackend({ runtime, ...(threads === undefined ? {} : { threads }) })
  return { backend, measurePeak: () => measurePeak(backend), profiler: backend, isLost: async () => false }
}

/** How long a call that failed because its device was lost may know of it before the device says so. */
const LOSS_GRACE_MS = 1000

async function openWebGPU(): Promise<Opened> {
  // Only here: runs on the CPU need no WGSL.
  const { createWebGPUBackend, measurePeak } = await import('@tilegrad/kernels-webgpu')
  const backend = await createWebGPUBackend().catch((error: Error) => {
    throw error.name === 'DeviceError' ? new UsageError(`--backend webgpu: ${inOneLine(error.message)}; or use --backend cpu`) : error
  })
  const lost = backend.device.lost.then(() => true)
  return {
    backend,
    measurePeak: () => measurePeak(backend),
    profiler: backend.info.features.timestamps ? backend : undefined,
    isLost: () => Promise.race([lost, new Promise<boolean>((resolve) => setTimeout(resolve, LOSS_GRACE_MS, false).unref())]),
  }
}

/** What is wrong, and the first of the fixes. */
function inOneLine(message: string): string {
  const [problem = '', ...lines] = message.split('\n')
  const fix = lines.find((line) => line.startsWith('- '))?.slice(2)
  return [problem.replace(/^createWebGPUBackend: /, ''), ...(fix ? [fix] : [])].join('; ')
}
