import type { Backend } from '@tilegrad/tensor'

/** Seconds of one call. */
export interface Timing {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly samples: readonly number[]
  /** Calls that each sample is the mean of, so that a sample is long against the clock and the wake-up of threads. */
  readonly callsPerSample: number
}

/** What is timed: `run` enqueues the work, `release` frees what it returned. */
export interface Candidate<R> {
  run(): R | Promise<R>
  release(result: R): void
}

export interface TimingOptions {
  /** At least 5: fewer say nothing about the spread. */
  readonly samples: number
}

const minSampleSeconds = 0.05

/**
 * Times candidates in turn, sample by sample, so that what the machine does besides hits all of them alike. The last result of each is
 * handed out unreleased: that is what gets checked.
 */
export async function time<R>(
  backend: Backend,
  candidates: readonly Candidate<R>[],
  { samples }: TimingOptions,
): Promise<{ timing: Timing; last: R }[]> {
  const states = []
  for (const candidate of candidates) states.push(await warmUp(backend, candidate))
  for (let i = 0; i < samples; i++) {
    for (const state of states) {
      const start = performance.now()
      for (let call = 0; call < state.calls; call++) {
        state.candidate.release(state.last)
        state.last = await state.candidate.run()
      }
      await backend.sync()
      state.seconds.push((performance.now() - start) / 1e3 / state.calls)
    }
  }
  return states.map(({ seconds, calls, last }) => ({ timing: summarize(seconds, calls), last }))
}

/** Runs once or twice and finds out how many calls make a sample. */
async function warmUp<R>(backend: Backend, candidate: Candidate<R>) {
  const timed = async () => {
    const start = performance.now()
    const result = await candidate.run()
    await backend.sync()
    return { result, seconds: (performance.now() - start) / 1e3 }
  }
  let last = await timed()
  if (last.seconds < 1) {
    candidate.release(last.result)
    last = await timed()
  }
  const calls = Math.max(1, Math.ceil(minSampleSeconds / last.seconds))
  return { candidate, last: last.result, calls, seconds: [] as number[] }
}

export function summarize(samples: readonly number[], callsPerSample: number): Timing {
  const sorted = [...samples].sort((a, b) => a - b)
  return { median: median(sorted), min: sorted[0] as number, max: sorted.at(-1) as number, samples, callsPerSample }
}

/** Of at least one number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
