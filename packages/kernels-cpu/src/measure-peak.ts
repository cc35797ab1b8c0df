import type { CpuBackend } from './backend'

/** What the machine does at best with the backend's threads and instruction set. */
export interface CpuPeak {
  /** float32 operations per second, a multiply-add counted as two. */
  readonly flopsPerSecond: number
  readonly threads: number
  readonly isa: string
}

// Mirrors kPeakAccumulators of native/peak-inl.h.
const accumulators = 12
const runs = 7
const secondsPerRun = 0.015

/** Measures the multiply-add peak of all threads together, in about 0.15 s: the best of several runs, after a warm-up that also sets their length. */
export async function measurePeak(backend: CpuBackend): Promise<CpuPeak> {
  const { context } = backend
  const { threads, lanes } = context
  const sink = backend.empty([threads])
  const seconds = async (rounds: number) => {
    await backend.sync()
    const start = performance.now()
    context.run('fma_peak', threads, rounds, context.address(sink))
    await backend.sync()
    return (performance.now() - start) / 1000
  }
  try {
    let rounds = 10_000
    for (let time = await seconds(rounds); time < secondsPerRun; time = await seconds(rounds)) {
      rounds = Math.ceil(rounds * Math.min(10, Math.max(1.5, (1.1 * secondsPerRun) / time)))
    }
    let best = Number.POSITIVE_INFINITY
    for (let run = 0; run < runs; run++) best = Math.min(best, await seconds(rounds))
    return { flopsPerSecond: (2 * accumulators * lanes * rounds * threads) / best, threads, isa: String(backend.info.features.isa) }
  } finally {
    sink.dispose()
  }
}
