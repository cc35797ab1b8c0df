import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { BackendInfo } from '@tilegrad/tensor'
import type { Check } from './check'
import { describeMachine, type Machine } from './machine'
import type { Timing } from './timing'

/** One line of a benchmark. A time that is not to be believed is not there. */
export interface Row {
  readonly name: string
  readonly parameters: Readonly<Record<string, string | number | boolean>>
  readonly backend: BackendInfo
  readonly threads: number
  readonly flops: number
  /** Of the machine, with as many threads, measured in this run. */
  readonly peakFlopsPerSecond: number
  readonly checks: readonly Check[]
  readonly timing: Timing | null
  readonly flopsPerSecond: number | null
  readonly shareOfPeak: number | null
  /** Median of the standard algorithm over this one's, from alternating samples. */
  readonly speedup: number | null
  /** Why there is no time. */
  readonly rejected: string | null
}

/** What was measured, before it is judged. */
export type Measurement = Omit<Row, 'timing' | 'flopsPerSecond' | 'shareOfPeak' | 'rejected' | 'speedup'> & {
  readonly timing: Timing
  /** Of standard attention, where it was run beside. */
  readonly standard?: Timing | undefined
}

/** A row whose results are wrong, or faster than the machine can be, gets no time. */
export function judge({ standard, ...measurement }: Measurement): Row {
  const { checks, timing, flops, peakFlopsPerSecond } = measurement
  const flopsPerSecond = flops / timing.median
  const wrong = checks.find(({ ok }) => !ok)
  const rejected = wrong
    ? `${wrong.what} is off by ${wrong.maxError.toExponential(1)}, allowed ${wrong.allowed.toExponential(1)}`
    : flopsPerSecond > peakFlopsPerSecond
      ? `${gigaflops(flopsPerSecond)} GFLOP/s is above the measured peak: the measurement is broken`
      : null
  if (rejected !== null) return { ...measurement, timing: null, flopsPerSecond: null, shareOfPeak: null, speedup: null, rejected }
  const speedup = standard ? standard.median / timing.median : null
  return { ...measurement, flopsPerSecond, shareOfPeak: flopsPerSecond / peakFlopsPerSecond, speedup, rejected: null }
}

export interface Report {
  readonly benchmark: string
  readonly date: string
  readonly machine: Machine
  readonly options: Readonly<Record<string, unknown>>
  readonly rows: readonly Row[]
}

export function writeReport(file: string, benchmark: string, options: Readonly<Record<string, unknown>>, rows: readonly Row[]): void {
  const report: Report = { benchmark, date: new Date().toISOString(), machine: describeMachine(), options, rows }
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
}

export function gigaflops(flopsPerSecond: number): string {
  return (flopsPerSecond / 1e9).toFixed(flopsPerSecond < 1e10 ? 1 : 0)
}

const columns = ['median ms', 'spread', 'GFLOP/s', 'of peak', 'vs standard', 'check'] as const

export function formatHeader(nameWidth: number): string {
  return `${'threads'.padStart(7)}  ${''.padEnd(nameWidth)}${columns.map((column) => column.padStart(13)).join('')}`
}

export function formatRow(row: Row, nameWidth: number): string {
  const head = `${String(row.threads).padStart(7)}  ${row.name.padEnd(nameWidth)}`
  if (row.timing === null || row.flopsPerSecond === null || row.shareOfPeak === null) return `${head}  no time: ${row.rejected}`
  const { median, min, max } = row.timing
  const cells = [
    (median * 1e3).toPrecision(4),
    `±${(((max - min) / 2 / median) * 100).toFixed(0)} %`,
    gigaflops(row.flopsPerSecond),
    `${(row.shareOfPeak * 100).toFixed(1)} %`,
    row.speedup === null ? '' : `${row.speedup.toFixed(2)}×`,
    'ok',
  ]
  return head + cells.map((cell) => cell.padStart(13)).join('')
}
