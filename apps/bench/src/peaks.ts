import { type CpuBackend, measurePeak } from '@tilegrad/kernels-cpu'
import { measurePeak as measureWebGPUPeak, type WebGPUBackend } from '@tilegrad/kernels-webgpu'
import type { Backend } from '@tilegrad/tensor'
import { watchDisturbance } from './disturbance'
import { allThreads } from './machine'
import { median } from './timing'

/** What bounds every kernel of one runtime with so many threads, measured. */
export interface Peak {
  readonly flopsPerSecond: number
  readonly bytesPerSecond: number
  /** The instruction set, or the adapter. */
  readonly isa: string
}

/** Far beyond any cache. */
const streamedFloats = 64 * 2 ** 20
const runs = 5
const [cleanRuns, triedRuns] = [3, 12]

export async function measurePeaks(backend: CpuBackend, threads: number): Promise<Peak> {
  const multiplyAdds = await best(threads, async () => (await measurePeak(backend)).flopsPerSecond)
  const bandwidth = await best(threads, () => memoryBandwidth(backend, streamedFloats))
  return { flopsPerSecond: multiplyAdds, bytesPerSecond: bandwidth, isa: String(backend.info.features.isa) }
}

/** The same of an adapter: multiply-adds of float32 in WGSL, without units that multiply matrices. */
export async function measureWebGPUPeaks(backend: WebGPUBackend): Promise<Peak> {
  const floats = Math.min(streamedFloats, backend.device.limits.maxStorageBufferBindingSize / 4)
  const multiplyAdds = await best(allThreads, async () => (await measureWebGPUPeak(backend)).flopsPerSecond)
  const bandwidth = await best(allThreads, () => memoryBandwidth(backend, floats))
  return { flopsPerSecond: multiplyAdds, bytesPerSecond: bandwidth, isa: backend.info.device }
}

/** The best of three undisturbed runs; on a machine that is busy throughout, of all that were tried. */
async function best(threads: number, measure: () => Promise<number>): Promise<number> {
  const rates: number[] = []
  for (let clean = 0; clean < cleanRuns && rates.length < triedRuns; ) {
    const wasDisturbed = watchDisturbance(threads)
    const start = performance.now()
    rates.push(await measure())
    if (!wasDisturbed((performance.now() - start) / 1e3)) clean++
  }
  return Math.max(...rates)
}

/** The better of reading so many floats and of copying them (bytes read plus bytes written), by our own kernels. */
async function memoryBandwidth(backend: Backend, floats: number): Promise<number> {
  const source = backend.zeros([floats])
  const target = backend.zeros([floats])
  const bytesPerSecond = async (bytes: number, run: () => void) => {
    const seconds: number[] = []
    for (let i = 0; i <= runs; i++) {
      await backend.sync()
      const start = performance.now()
      run()
      await backend.sync()
      if (i > 0) seconds.push((performance.now() - start) / 1e3)
    }
    return bytes / median(seconds)
  }
  const read = await bytesPerSecond(4 * floats, () => backend.kernels.sumSquares(source).dispose())
  const copied = await bytesPerSecond(8 * floats, () => backend.kernels.copy(source, { out: target }))
  source.dispose()
  target.dispose()
  return Math.max(read, copied)
}
