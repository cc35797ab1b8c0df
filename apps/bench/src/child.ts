import { fork } from 'node:child_process'
import type { AdapterJob, Job, MeasurementJob, PeakJob } from './job'
import type { Peak } from './peaks'
import type { Measurement } from './results'
import type { Adapter } from './webgpu/adapter'
import type { Answer } from './worker'

/** Longer than any row takes: something hangs. */
const limitMilliseconds = 15 * 60_000

/** Does a job in a process of its own, so that no configuration inherits heap, compiled code or threads of another. `signal` ends it. */
export function inChild(job: PeakJob, signal: AbortSignal): Promise<Peak>
export function inChild(job: MeasurementJob, signal: AbortSignal): Promise<Measurement>
export function inChild(job: AdapterJob, signal: AbortSignal): Promise<Adapter>
export function inChild(job: Job, signal: AbortSignal): Promise<Measurement | Peak | Adapter> {
  return new Promise((resolve, reject) => {
    // jax-js uses iterator helpers, which Node 20 has behind a flag.
    const needsFlag = job.contender.startsWith('jax-js') && !('Iterator' in globalThis)
    const child = fork(process.argv[1] as string, ['worker'], {
      execArgv: needsFlag ? ['--harmony-iterator-helpers'] : [],
      serialization: 'advanced',
      timeout: limitMilliseconds,
      killSignal: 'SIGKILL',
      signal,
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    let complaints = ''
    child.stderr?.on('data', (chunk) => {
      complaints = `${complaints}${chunk}`.slice(-2000)
    })
    child.once('message', (answer: Answer) => {
      // GPU drivers may take minutes to end.
      child.kill('SIGKILL')
      if ('error' in answer) reject(new Error(answer.error))
      else resolve(answer.result)
    })
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      const line = complaints.split('\n').find((text) => text.includes('Error')) ?? ''
      reject(new Error(`its process ended with ${signal ?? code} ${line.trim()}`.trim()))
    })
    child.send(job)
  })
}
