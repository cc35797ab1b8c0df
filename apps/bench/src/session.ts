import { availableParallelism } from 'node:os'
import { inChild } from './child'
import { type BackendName, runtimeOf } from './job'
import { describeMachine, formatMachine } from './machine'
import type { Peak } from './peaks'
import type { Planned } from './plan'
import { failed, formatHeader, formatRow, gigaflops, judge, type Report, type Row, writeReport } from './results'

export interface SessionOptions {
  readonly json: string
  /** Show times of samples that other processes disturbed; the JSON says so. */
  readonly keepDisturbed: boolean
}

/** Measures the peaks first, then every row in a process of its own, prints rows as they come and writes the JSON. */
export async function session(rows: readonly Planned[], options: SessionOptions): Promise<Row[]> {
  const machine = describeMachine()
  console.log(
    `${formatMachine(machine)}${machine.commit === null ? '' : `, commit ${machine.commit.replace(/^(.{12})[0-9a-f]*/, '$1')}`}\n`,
  )
  const peaks = await measurePeaksFor(rows)
  console.log(`\n${formatHeader()}`)
  const done: Row[] = []
  for (const planned of rows) {
    const row = await measure(planned, peaks, options.keepDisturbed)
    console.log(formatRow(row))
    done.push(row)
    // After each row: a run that is ended early leaves what it has.
    writeReport(options.json, report(done, peaks, options, machine))
  }
  console.log(`\nMedians after warm-up; every time's results were checked against float64 in its run. Written to ${options.json}`)
  if (done.some(({ rejected, checks }) => rejected !== null && checks.length > 0)) process.exitCode = 1
  return done
}

type Peaks = Map<string, Peak & { readonly contender: BackendName; readonly threads: number }>

async function measurePeaksFor(rows: readonly Planned[]): Promise<Peaks> {
  const peaks: Peaks = new Map()
  for (const { job } of rows) {
    const [contender, { threads }] = [runtimeOf(job.contender), job]
    const key = `${contender} ${threads}`
    if (peaks.has(key)) continue
    const peak = await inChild({ kind: 'peak', contender, threads })
    const [flops, bytes] = [gigaflops(peak.flopsPerSecond), gigaflops(peak.bytesPerSecond)]
    console.log(`peak of ${contender} (${peak.isa}) with ${threads} threads: multiply-adds ${flops} GFLOP/s, memory ${bytes} GB/s`)
    peaks.set(key, { ...peak, contender, threads })
  }
  return peaks
}

async function measure({ subject, job, impossible }: Planned, peaks: Peaks, keepDisturbed: boolean): Promise<Row> {
  const peak = peaks.get(`${runtimeOf(job.contender)} ${job.threads}`)
  if (!peak) throw new Error(`no peak was measured for ${job.contender}`)
  if (impossible !== null) return failed(subject, peak, impossible)
  try {
    return judge(subject, await inChild(job), peak, keepDisturbed)
  } catch (error) {
    return failed(subject, peak, error instanceof Error ? error.message : String(error))
  }
}

function report(rows: readonly Row[], peaks: Peaks, options: SessionOptions, machine: Report['machine']): Report {
  const { keepDisturbed, ...rest } = options
  return { date: new Date().toISOString(), machine, options: rest, peaks: [...peaks.values()], rows, keptDisturbed: keepDisturbed }
}

export const allThreads = availableParallelism()
