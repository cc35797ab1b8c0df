import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Check } from './check'
import { deviceThreads } from './job'
import type { Machine } from './machine'
import type { Peak } from './peaks'
import type { StepProfile } from './profile'
import type { Timing } from './timing'

/** What one process measured, before it is judged. */
export interface Measurement {
  readonly device: string
  /** Null where the time is not that of the arithmetic. */
  readonly flops: number | null
  /** Done by units that multiply matrices, to which the peak of multiply-adds does not apply. */
  readonly beyondPeak?: boolean
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
  /** Where a training step's time goes. */
  readonly profile?: StepProfile
  /** Of an approximation, ‖out − exact‖/‖exact‖. */
  readonly relativeError?: number
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
  /** Null if the backend does not start here. */
  readonly peak: Peak | null
  readonly device: string | null
  readonly flops: number | null
  readonly checks: readonly Check[]
  readonly timing: Timing | null
  readonly memory: Measurement['memory'] | null
  readonly flopsPerSecond: number | null
  readonly shareOfPeak: number | null
  readonly bytesPerSecond: number | null
  readonly shareOfBandwidth: number | null
  readonly profile?: StepProfile
  readonly relativeError?: number
  /** Why there is no time. */
  readonly rejected: string | null
  /** What the row took, with its process's start and its check. */
  readonly seconds: number
}

/** A row that is unchecked, wrong, disturbed throughout or faster than the machine can be gets no time. */
export function judge(subject: Subject, measurement: Measurement, peak: Peak, seconds: number, keepDisturbed = false): Row {
  const { device, flops, bytes, checks, timing, memory, profile, relativeError, beyondPeak = false } = measurement
  const flopsPerSecond = flops === null ? null : flops / timing.median
  const bytesPerSecond = bytes === null ? null : bytes / timing.median
  const bound = beyondPeak ? Number.POSITIVE_INFINITY : peak.flopsPerSecond
  const rejected = reasonToReject(checks, flopsPerSecond ?? 0, bound) ?? (keepDisturbed ? null : reasonToRetake(timing))
  if (rejected !== null) return { ...failed(subject, peak, rejected, seconds), device, checks }
  return {
    ...subject,
    peak,
    device,
    flops,
    checks,
    timing,
    memory,
    flopsPerSecond,
    shareOfPeak: flopsPerSecond === null || beyondPeak ? null : flopsPerSecond / peak.flopsPerSecond,
    bytesPerSecond,
    shareOfBandwidth: bytesPerSecond === null ? null : bytesPerSecond / peak.bytesPerSecond,
    ...(profile ? { profile } : {}),
    ...(relativeError === undefined ? {} : { relativeError }),
    rejected,
    seconds,
  }
}

/** A row without a time. */
export function failed(subject: Subject, peak: Peak | null, rejected: string, seconds = 0): Row {
  const nothing = { device: null, flops: null, timing: null, memory: null, flopsPerSecond: null, shareOfPeak: null }
  return { ...subject, peak, checks: [], ...nothing, bytesPerSecond: null, shareOfBandwidth: null, rejected, seconds }
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
  // In one step, so that ending the run at any moment leaves a whole file.
  writeFileSync(`${file}.part`, `${JSON.stringify(report, null, 2)}\n`)
  renameSync(`${file}.part`, file)
}

export function gigaflops(flopsPerSecond: number): string {
  return (flopsPerSecond / 1e9).toFixed(flopsPerSecond < 1e10 ? 1 : 0)
}

export function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)
}

const [nameWidth, contenderWidth, cellWidth] = [50, 27, 11]

export function formatHeader(): string {
  const columns = ['median ms', 'spread', 'GFLOP/s', 'of peak', 'GB/s', 'of peak', 'MiB', 'check']
  return `threads  ${''.padEnd(nameWidth + contenderWidth)}${columns.map((column) => column.padStart(cellWidth)).join('')}`
}

export function formatRow(row: Row): string {
  const threads = row.threads === deviceThreads ? 'device' : String(row.threads)
  const head = `${threads.padStart(7)}  ${row.name.padEnd(nameWidth)}${row.contender.padEnd(contenderWidth)}`
  if (row.timing === null) return `${head}  no time: ${row.rejected}`
  const { median, min, max, disturbed } = row.timing
  const cells = [
    (median * 1e3).toPrecision(4),
    `±${(((max - min) / 2 / median) * 100).toFixed(0)} %`,
    rate(row.flopsPerSecond),
    percent(row.shareOfPeak),
    rate(row.bytesPerSecond),
    percent(row.shareOfBandwidth),
    row.memory === null ? '' : mebibytes(row.memory.processBytes),
    disturbed > 0 ? 'ok, busy' : 'ok',
  ]
  return head + cells.map((cell) => cell.padStart(cellWidth)).join('')
}

/** In thousands of millions per second: GFLOP/s or GB/s. */
export function rate(perSecond: number | null): string {
  return perSecond === null ? '' : gigaflops(perSecond)
}

export function percent(share: number | null): string {
  return share === null ? '' : `${(share * 100).toFixed(1)} %`
}
