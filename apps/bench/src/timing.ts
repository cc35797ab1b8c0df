import { watchDisturbance } from './disturbance'
import type { Until } from './job'

/** Seconds of one call. */
export interface Timing {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly samples: readonly number[]
  /** Calls that each sample is the mean of, so that a sample is long against the clock and the wake-up of threads. */
  readonly callsPerSample: number
  /** Samples thrown away because other processes took part of the machine meanwhile. */
  readonly retaken: number
  /** Samples that stayed in although they were disturbed, because all retakes were too. */
  readonly disturbed: number
}

/** What is timed: `call` starts the work, `sync` resolves when it is done. */
export interface Workload {
  call(): void | Promise<void>
  sync(): Promise<void>
}

export interface TimingOptions {
  /** At least 5: fewer say nothing about the spread. */
  readonly samples: number
  readonly threads: number
  readonly until?: Until
}

const minSampleSeconds = 0.05
/**
 * Calls before a sample, as a share of its own, that are not timed: threads that slept wake up on one core, and the system spreads them after some milliseconds.
 * A call that is a sample by itself is long against that.
 */
const leadIn = 0.5
/** Few enough calls that none waits for room in a queue, which is not what enqueueing costs. */
const enqueuedCalls = 256
/** Until the compiler is done with what runs per call, or calls have taken so long that it must be. */
const [enqueuedWarmUps, enqueuedWarmUpSeconds] = [30, 3]
/** V8 runs WebAssembly that it has compiled in haste until its better code is there. */
const warmUpSeconds = 0.2
/** A machine that is busy throughout ends the retaking after as many samples more as were asked for. */
const retakesPerSample = 1

/** Times calls after a warm-up. A sample that other processes disturbed is taken again. */
export async function time(workload: Workload, options: TimingOptions, watch = watchDisturbance): Promise<Timing> {
  const { samples, threads, until = 'done' } = options
  const calls = await warmUp(workload, until)
  const clean: number[] = []
  const disturbed: number[] = []
  while (clean.length < samples && clean.length + disturbed.length < samples * (1 + retakesPerSample)) {
    const wasDisturbed = watch(threads)
    const start = performance.now()
    const before = calls === 1 ? 0 : Math.ceil(calls * leadIn)
    if (until === 'done' && before > 0) await sample(workload, before, until)
    const seconds = await sample(workload, calls, until)
    ;(wasDisturbed((performance.now() - start) / 1e3) ? disturbed : clean).push(seconds)
  }
  const missing = samples - clean.length
  const fillers = disturbed.sort((a, b) => a - b).slice(0, missing)
  const taken = [...clean, ...fillers]
  return { ...summarize(taken, calls), retaken: disturbed.length - fillers.length, disturbed: fillers.length }
}

async function sample(workload: Workload, calls: number, until: Until): Promise<number> {
  const start = performance.now()
  for (let call = 0; call < calls; call++) {
    // Without an await of its own: what a microtask costs is not what a call costs.
    const called = workload.call()
    if (called) await called
    if (until === 'answered') await workload.sync()
  }
  const enqueued = performance.now()
  if (until !== 'answered') await workload.sync()
  return ((until === 'enqueued' ? enqueued : performance.now()) - start) / 1e3 / calls
}

/** Runs once or more often and finds out how many calls make a sample. */
async function warmUp(workload: Workload, until: Until): Promise<number> {
  if (until === 'enqueued') {
    const end = performance.now() + 1e3 * enqueuedWarmUpSeconds
    for (let i = 0; i < enqueuedWarmUps && performance.now() < end; i++) await sample(workload, enqueuedCalls, until)
    return enqueuedCalls
  }
  const end = performance.now() + 1e3 * warmUpSeconds
  let seconds = await sample(workload, 1, until)
  do {
    if (seconds < 1) seconds = await sample(workload, 1, until)
  } while (performance.now() < end)
  return Math.max(1, Math.ceil(minSampleSeconds / seconds))
}

export function summarize(samples: readonly number[], callsPerSample: number): Timing {
  const sorted = [...samples].sort((a, b) => a - b)
  const [min, max] = [sorted[0] as number, sorted.at(-1) as number]
  return { median: median(sorted), min, max, samples, callsPerSample, retaken: 0, disturbed: 0 }
}

/** Of at least one number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
