import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import writeFileAtomic from 'write-file-atomic'
import { describeFileError, isFileError, RunError } from './errors'

/** One optimizer step. `step` counts from 1; loss and gradNorm are of the weights before it. */
export interface StepRecord {
  readonly type: 'step'
  readonly step: number
  /** Nats per token. */
  readonly loss: number
  readonly lr: number
  /** Before clipping. */
  readonly gradNorm: number
  /** Tokens trained on so far. */
  readonly tokens: number
  /** Seconds of this step. */
  readonly seconds: number
  readonly tokensPerSecond: number
  /** Model FLOP per second over the machine's measured peak, 0..1. */
  readonly utilisation: number
  /** Attention's share of the time in kernels, 0..1; null where the device measures no times. */
  readonly attentionShare: number | null
  /** Peak bytes that the backend held, and of the process. */
  readonly backendBytes: number
  readonly residentBytes: number
}

/** Validation of the weights after `step` steps. */
export interface ValidationRecord {
  readonly type: 'validation'
  readonly step: number
  /** Nats per token. */
  readonly loss: number
  readonly bitsPerByte: number
}

/** Text drawn from the weights after `step` steps. */
export interface SampleRecord {
  readonly type: 'sample'
  readonly step: number
  readonly text: string
}

export type MetricsRecord = StepRecord | ValidationRecord | SampleRecord

/** A file of one JSON object per line. Each append is one write, so a killed run loses at most the line it was writing. */
export class MetricsLog {
  private readonly file: number

  constructor(private readonly path: string) {
    this.file = attempt(path, () => openSync(path, 'a'))
  }

  append(record: MetricsRecord): void {
    attempt(this.path, () => {
      const line = Buffer.from(`${JSON.stringify(record)}\n`)
      for (let done = 0; done < line.length; ) done += writeSync(this.file, line, done)
    })
  }

  /** Waits until the disk has it. */
  flush(): void {
    attempt(this.path, () => fsyncSync(this.file))
  }

  close(): void {
    closeSync(this.file)
  }
}

/** All whole lines; a last line that a killed run left unfinished is skipped, a missing file is empty. */
export async function readMetrics(path: string): Promise<MetricsRecord[]> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (isFileError(error) && error.code === 'ENOENT') return ''
    throw error
  })
  const lines = text.split('\n')
  lines.pop()
  return lines.flatMap((line, i) => {
    try {
      return [JSON.parse(line) as MetricsRecord]
    } catch {
      throw new RunError(`${path}: line ${i + 1} is not JSON; remove that line, then resume`)
    }
  })
}

/** Drops what a run did after the checkpoint that it resumes from. */
export async function truncateMetrics(path: string, step: number): Promise<MetricsRecord[]> {
  const kept = (await readMetrics(path)).filter((record) => record.step <= step)
  try {
    await writeFileAtomic(path, kept.map((record) => `${JSON.stringify(record)}\n`).join(''))
  } catch (error) {
    throw isFileError(error) ? new RunError(describeFileError('write', path, error)) : error
  }
  return kept
}

function attempt<T>(path: string, write: () => T): T {
  try {
    return write()
  } catch (error) {
    throw isFileError(error) ? new RunError(describeFileError('write', path, error)) : error
  }
}
