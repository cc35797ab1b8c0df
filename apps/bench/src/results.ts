import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Check } from './check'
import type { Machine } from './machine'
import type { Peak } from './peaks'
import type { Timing } from './timing'

/** What one process measured, before it is judged. */
export interface Measurement {
  readonly device: string
  readonly flops: number
  /** Bytes that have to be read or written at least once; null where they do not bound the time. */
  readonly bytes: number | null
  readonly checks: readonly Check[]
  readonly timing: Timing
  readonly memory: {
    /** The process's peak over what it had with its inputs loaded. */
    readonly processBytes: number
    /** Peak of tensors, inputs not counted; null where the contender does not tell. */
    readonly tensorBytes: number | null
  }
}

/** What was to be measured. */
export interface Subject {
  readonly benchmark: string
  readonly name: string
  readonly contender: string
  readonly threads: number
  readonly parameters: Readonly<Record<string, string | number | boolean>>
}

/** One line of a benchmark. A time that is not to be believed is not there. */
export interface Row extends Subject {
  readonly peak: Peak
  readonly device: string | null
  readonly flops: number | null
  readonly checks: readonly Check[]
  readonly timing: Timing | null
  readonly memory: Measurement['memory'] | null
  readonly flopsPerSecond: number | null
  readonly shareOfPeak: number | null
  readonly bytesPerSecond: number | null
  readonly shareOfBandwidth: number | null
  /** Why there is no time. */
  readonly rejected: string | null
}

/** A row that is unchecked, wrong, disturbed throughout or faster than the machine can be gets no time. */
export function judge(subject: Subject, measurement: Measurement, peak: Peak, keepDisturbed = false): Row {
  const { device, flops, bytes, checks, timing, memory } = measurement
  const flopsPerSecond = flops / timing.median
  const bytesPerSecond = bytes === null ? null : bytes / timing.median
  const rejected = reasonToReject(checks, flopsPerSecond, peak.flopsPerSecond) ?? (keepDisturbed ? null : reasonToRetake(timing))
  if (rejected !== null) return { ...failed(subject, peak, rejected), device, checks }
  return {
    ...subject,
    peak,
    device,
    flops,
    checks,
    timing,
    memory,
    flopsPerSecond,
    shareOfPeak: flopsPerSecond / peak.flopsPerSecond,
    bytesPerSecond,
    shareOfBandwidth: bytesPerSecond === null ? null : bytesPerSecond / peak.bytesPerSecond,
    rejected,
  }
}

/** A row without a time. */
export function failed(subject: Subject, peak: Peak, rejected: string): Row {
  const nothing = { device: null, flops: null, timing: null, memory: null, flopsPerSecond: null, shareOfPeak: null }
  return { ...subject, peak, checks: [], ...nothing, bytesPerSecond: null, shareOfBandwidth: null, rejected }
}

function reasonToReject(checks: readonly Check[], flopsPerSecond: number, peakFlopsPerSecond: number): string | null {
  if (checks.length === 0) return 'nothing was checked'
  const wrong = checks.find(({ ok }) => !ok)
  if (wrong) return `${wrong.what} is off by ${wrong.maxError.toExponential(1)}, allowed ${wrong.allowed.toExponential(1)}`
  if (flopsPerSecond <= peakFlopsPerSecond) return null
  return `${gigaflops(flopsPerSecond)} GFLOP/s is above the measured peak: the measurement is broken`
}

function reasonToRetake({ disturbed, samples }: Timing): string | null {
  return disturbed === 0
    ? null
    : `other processes disturbed ${disturbed} of ${samples.length} samples, retakes too: run it on a quiet machine`
}

export interface Report {
  readonly date: string
  readonly machine: Machine
  readonly options: Readonly<Record<string, unknown>>
  /** By backend and thread count. */
  readonly peaks: readonly (Peak & { readonly contender: string; readonly threads: number })[]
  readonly rows: readonly Row[]
  /** Times of a busy machine are in it: not for publication. */
  readonly keptDisturbed: boolean
}

export function writeReport(file: string, report: Report): void {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
}

export function gigaflops(flopsPerSecond: number): string {
  return (flopsPerSecond / 1e9).toFixed(flopsPerSecond < 1e10 ? 1 : 0)
}

export function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)
}

const [nameWidth, contenderWidth, cellWidth] = [46, 16, 12]

export function formatHeader(): string {
  const columns = ['median ms', 'spread', 'GFLOP/s', 'of peak', 'of GB/s', 'MiB', 'check']
  return `threads  ${''.padEnd(nameWidth + contenderWidth)}${columns.map((column) => column.padStart(cellWidth)).join('')}`
}

export function formatRow(row: Row): string {
  const head = `${String(row.threads).padStart(7)}  ${row.name.padEnd(nameWidth)}${row.contender.padEnd(contenderWidth)}`
  if (row.timing === null || row.flopsPerSecond === null || row.shareOfPeak === null) return `${head}  no time: ${row.rejected}`
  const { median, min, max, disturbed } = row.timing
  const cells = [
    (median * 1e3).toPrecision(4),
    `±${(((max - min) / 2 / median) * 100).toFixed(0)} %`,
    gigaflops(row.flopsPerSecond),
    `${(row.shareOfPeak * 100).toFixed(1)} %`,
    row.shareOfBandwidth === null ? '' : `${(row.shareOfBandwidth * 100).toFixed(0)} %`,
    row.memory === null ? '' : mebibytes(row.memory.processBytes),
    disturbed > 0 ? 'ok, busy' : 'ok',
  ]
  return head + cells.map((cell) => cell.padStart(cellWidth)).join('')
}
