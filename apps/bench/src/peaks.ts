import { type CpuBackend, measurePeak } from '@tilegrad/kernels-cpu'
import { watchDisturbance } from './disturbance'
import { median } from './timing'

/** What bounds every kernel of one runtime with so many threads, measured. */
export interface Peak {
  readonly flopsPerSecond: number
  readonly bytesPerSecond: number
  readonly isa: string
}

/** Far beyond any cache. */
const streamedFloats = 64 * 2 ** 20
const runs = 5
const [cleanRuns, triedRuns] = [3, 12]

export async function measurePeaks(backend: CpuBackend, threads: number): Promise<Peak> {
  const multiplyAdds = await best(threads, async () => (await measurePeak(backend)).flopsPerSecond)
  const bandwidth = await best(threads, () => memoryBandwidth(backend))
  return { flopsPerSecond: multiplyAdds, bytesPerSecond: bandwidth, isa: String(backend.info.features.isa) }
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

/** The better of reading 256 MiB and of copying them (bytes read plus bytes written), by our own kernels. */
async function memoryBandwidth(backend: CpuBackend): Promise<number> {
  const source = backend.zeros([streamedFloats])
  const target = backend.zeros([streamedFloats])
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
  const read = await bytesPerSecond(4 * streamedFloats, () => backend.kernels.sumSquares(source).dispose())
  const copied = await bytesPerSecond(8 * streamedFloats, () => backend.kernels.copy(source, { out: target }))
  source.dispose()
  target.dispose()
  return Math.max(read, copied)
}
