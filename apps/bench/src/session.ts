import { inChild } from './child'
import { deviceThreads, type RuntimeName, runtimeOf } from './job'
import { describeMachine, formatMachine } from './machine'
import type { Peak } from './peaks'
import type { Planned } from './plan'
import { formatProfile } from './profile'
import { threadsOf } from './report/markdown'
import { failed, formatHeader, formatRow, gigaflops, judge, type Measurement, type Report, type Row, writeReport } from './results'

export interface SessionOptions {
  readonly json: string
  /** Show times of samples that other processes disturbed; the JSON says so. */
  readonly keepDisturbed: boolean
}

/**
 * Measures the peaks first, then every row in a process of its own, and prints rows as they come. The JSON is written after each row: SIGINT and
 * SIGTERM end the run with what there is.
 */
export async function session(rows: readonly Planned[], options: SessionOptions): Promise<Row[]> {
  const machine = describeMachine()
  console.log(
    `${formatMachine(machine)}${machine.commit === null ? '' : `, commit ${machine.commit.replace(/^(.{12})[0-9a-f]*/, '$1')}`}\n`,
  )
  const [ending, begin] = [new AbortController(), performance.now()]
  const end = () => ending.abort()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end)
  const run = new Run(options, machine, ending.signal)
  await run.measurePeaks(rows)
  console.log(`\n${formatHeader()}`)
  for (const planned of rows) {
    if (ending.signal.aborted) break
    await run.measure(planned)
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.removeListener(signal, end)
  const done = run.rows()
  console.log(`\nMedians after warm-up; every time's results were checked against float64 in its run. Written to ${options.json}`)
  console.log(whereTimeWent(done, (performance.now() - begin) / 1e3))
  if (ending.signal.aborted) console.log(`Ended after ${done.length} of ${rows.length} rows`)
  const wrong = done.some(({ rejected, checks }) => rejected !== null && checks.length > 0)
  if (wrong) process.exitCode = 1
  if (ending.signal.aborted) process.exitCode = 130
  return done
}

/** A peak, or why the backend does not start. */
type PeakOrReason = (Peak & { readonly contender: RuntimeName; readonly threads: number }) | string

interface Outcome {
  readonly planned: Planned
  /** Or why there is none. */
  readonly measurement: Measurement | string
  readonly seconds: number
}

class Run {
  private readonly peaks = new Map<string, PeakOrReason>()
  private readonly outcomes: Outcome[] = []

  constructor(
    private readonly options: SessionOptions,
    private readonly machine: Report['machine'],
    private readonly signal: AbortSignal,
  ) {}

  async measurePeaks(rows: readonly Planned[]): Promise<void> {
    for (const { job } of rows) {
      const [contender, { threads }] = [runtimeOf(job.contender), job]
      if (!this.peaks.has(keyOf(contender, threads))) await this.measurePeak(contender, threads)
    }
  }

  async measure(planned: Planned): Promise<void> {
    const { job, impossible } = planned
    const begin = performance.now()
    const peak = this.peaks.get(keyOf(runtimeOf(job.contender), job.threads))
    const reason = impossible ?? (typeof peak === 'object' ? null : (peak ?? 'no peak was measured'))
    const measurement = reason ?? (await inChild(job, this.signal).catch(messageOf))
    if (this.signal.aborted) return
    const outcome = { planned, measurement, seconds: (performance.now() - begin) / 1e3 }
    // Something else had the machine when the peak was measured: the rows so far get their shares of the better one.
    if (this.isAbovePeak(outcome)) await this.measurePeak(runtimeOf(job.contender), job.threads)
    this.outcomes.push(outcome)
    const row = this.judged(outcome)
    console.log(formatRow(row))
    if (row.profile && row.peak) console.log(`\n${formatProfile(row.profile, row.peak)}\n`)
    writeReport(this.options.json, this.report())
  }

  rows(): Row[] {
    return this.outcomes.map((outcome) => this.judged(outcome))
  }

  private async measurePeak(contender: RuntimeName, threads: number): Promise<void> {
    const before = this.peaks.get(keyOf(contender, threads))
    const peak = await inChild({ kind: 'peak', contender, threads }, this.signal).catch(messageOf)
    const name = `peak of ${contender}${threads === deviceThreads ? '' : ` with ${threadsOf(threads)}`}`
    if (typeof peak === 'string') {
      console.log(`${name}: none, ${peak}`)
      this.peaks.set(keyOf(contender, threads), peak)
      return
    }
    const best = (what: 'flopsPerSecond' | 'bytesPerSecond') => Math.max(peak[what], typeof before === 'object' ? before[what] : 0)
    const [flopsPerSecond, bytesPerSecond] = [best('flopsPerSecond'), best('bytesPerSecond')]
    const rates = `multiply-adds ${gigaflops(flopsPerSecond)} GFLOP/s, memory ${gigaflops(bytesPerSecond)} GB/s`
    console.log(`${name}${before === undefined ? '' : ', measured again'}: ${rates} (${peak.isa})`)
    this.peaks.set(keyOf(contender, threads), { ...peak, flopsPerSecond, bytesPerSecond, contender, threads })
  }

  private isAbovePeak({ planned: { job }, measurement }: Outcome): boolean {
    const peak = this.peaks.get(keyOf(runtimeOf(job.contender), job.threads))
    if (typeof measurement === 'string' || measurement.flops === null || measurement.beyondPeak || typeof peak !== 'object') return false
    return measurement.flops / measurement.timing.median > peak.flopsPerSecond
  }

  private judged({ planned: { subject, job }, measurement, seconds }: Outcome): Row {
    const peak = this.peaks.get(keyOf(runtimeOf(job.contender), job.threads))
    if (typeof measurement === 'string') return failed(subject, typeof peak === 'object' ? peak : null, measurement, seconds)
    if (typeof peak !== 'object') return failed(subject, null, peak ?? 'no peak was measured', seconds)
    return judge(subject, measurement, peak, seconds, this.options.keepDisturbed)
  }

  private report(): Report {
    const { keepDisturbed, ...options } = this.options
    const peaks = [...this.peaks.values()].filter((peak) => typeof peak === 'object')
    return { date: new Date().toISOString(), machine: this.machine, options, peaks, rows: this.rows(), keptDisturbed: keepDisturbed }
  }
}

function keyOf(contender: RuntimeName, threads: number): string {
  return `${contender} ${threads}`
}

/** In one line; what else a message has is advice. */
function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] as string
}

/** By benchmark, with the share of it that is samples: the rest is processes starting, inputs and checks. */
export function whereTimeWent(rows: readonly Row[], seconds: number): string {
  const sum = (of: readonly Row[], value: (row: Row) => number) => of.reduce((total, row) => total + value(row), 0)
  const sampled = ({ timing }: Row) =>
    timing === null ? 0 : sumOf(timing.samples) * timing.callsPerSample * (1 + timing.retaken / timing.samples.length)
  const parts = [...new Set(rows.map(({ benchmark }) => benchmark))].map((benchmark) => {
    const of = rows.filter((row) => row.benchmark === benchmark)
    const total = sum(of, (row) => row.seconds)
    return `${benchmark} ${formatMinutes(total)} (${of.length} rows, ${((sum(of, sampled) / Math.max(total, 1e-9)) * 100).toFixed(0)} % in samples)`
  })
  return `Took ${formatMinutes(seconds)}: ${parts.join(', ')}`
}

function sumOf(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function formatMinutes(seconds: number): string {
  const whole = Math.round(seconds)
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`
}
