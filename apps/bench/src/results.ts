import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { BackendInfo } from '@tilegrad/tensor'
import type { Check } from './check'
import type { Machine } from './machine'
import type { Timing } from './timing'

/** What was measured, before it is judged. */
export interface Measurement {
  readonly name: string
  readonly parameters: Readonly<Record<string, string | number | boolean>>
  readonly flops: number
  readonly checks: readonly Check[]
  readonly timing: Timing
  /** Of standard attention, where it was sampled in turn. */
  readonly standard?: Timing | undefined
}

/** What it was measured on. */
export interface Setting {
  readonly backend: BackendInfo
  readonly threads: number
  /** Of the machine with as many threads, in this run. */
  readonly peakFlopsPerSecond: number
}

/** One line of a benchmark. A time that is not to be believed is not there. */
export interface Row extends Setting {
  readonly name: string
  readonly parameters: Measurement['parameters']
  readonly flops: number
  readonly checks: readonly Check[]
  readonly timing: Timing | null
  readonly standard: Timing | null
  readonly flopsPerSecond: number | null
  readonly shareOfPeak: number | null
  /** Median of standard attention over this one's. */
  readonly speedup: number | null
  /** Why there is no time. */
  readonly rejected: string | null
}

/** A row whose results are wrong, or faster than the machine can be, gets no time. */
export function judge(measurement: Measurement, setting: Setting): Row {
  const { name, parameters, flops, checks, timing, standard = null } = measurement
  const flopsPerSecond = flops / timing.median
  const rejected = reasonToReject(checks, flopsPerSecond, setting.peakFlopsPerSecond)
  const common = { name, parameters, ...setting, flops, checks, rejected }
  if (rejected !== null) return { ...common, timing: null, standard: null, flopsPerSecond: null, shareOfPeak: null, speedup: null }
  const speedup = standard === null ? null : standard.median / timing.median
  return { ...common, timing, standard, flopsPerSecond, shareOfPeak: flopsPerSecond / setting.peakFlopsPerSecond, speedup }
}

function reasonToReject(checks: readonly Check[], flopsPerSecond: number, peakFlopsPerSecond: number): string | null {
  const wrong = checks.find(({ ok }) => !ok)
  if (wrong) return `${wrong.what} is off by ${wrong.maxError.toExponential(1)}, allowed ${wrong.allowed.toExponential(1)}`
  if (flopsPerSecond <= peakFlopsPerSecond) return null
  return `${gigaflops(flopsPerSecond)} GFLOP/s is above the measured peak: the measurement is broken`
}

export interface Report {
  readonly benchmark: string
  readonly date: string
  readonly machine: Machine
  readonly options: Readonly<Record<string, unknown>>
  readonly rows: readonly Row[]
}

export function writeReport(file: string, report: Report): void {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
}

export function gigaflops(flopsPerSecond: number): string {
  return (flopsPerSecond / 1e9).toFixed(flopsPerSecond < 1e10 ? 1 : 0)
}

/** How rows are printed. */
export interface Layout {
  readonly nameWidth: number
  /** Whether there is a column for the ratio to standard attention. */
  readonly standard: boolean
}

const cellWidth = 13

export function formatHeader({ nameWidth, standard }: Layout): string {
  const columns = ['median ms', 'spread', 'GFLOP/s', 'of peak', ...(standard ? ['vs standard'] : []), 'check']
  return `threads  ${''.padEnd(nameWidth)}${columns.map((column) => column.padStart(cellWidth)).join('')}`
}

export function formatRow(row: Row, { nameWidth, standard }: Layout): string {
  const head = `${String(row.threads).padStart(7)}  ${row.name.padEnd(nameWidth)}`
  if (row.timing === null || row.flopsPerSecond === null || row.shareOfPeak === null) return `${head}  no time: ${row.rejected}`
  const { median, min, max } = row.timing
  const cells = [
    (median * 1e3).toPrecision(4),
    `±${(((max - min) / 2 / median) * 100).toFixed(0)} %`,
    gigaflops(row.flopsPerSecond),
    `${(row.shareOfPeak * 100).toFixed(1)} %`,
    ...(standard ? [row.speedup === null ? '' : `${row.speedup.toFixed(2)}×`] : []),
    'ok',
  ]
  return head + cells.map((cell) => cell.padStart(cellWidth)).join('')
}
