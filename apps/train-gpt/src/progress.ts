import type { WriteStream } from 'node:tty'
import { MultiBar, Presets, type SingleBar } from 'cli-progress'
import { formatBytes, formatCount, formatDuration, formatShare } from './format'
import type { StepRecord } from './metrics'

/** What a person sees of a run while it goes: a bar on a terminal, a line now and then elsewhere. */
export interface Progress {
  step(record: StepRecord, plan: { totalSteps: number; etaSeconds: number }): void
  /** A line (or several) that stays. */
  note(text: string): void
  stop(): void
}

/** Seconds between lines where there is no terminal. */
const LINE_INTERVAL = 10

export function createProgress(stream: NodeJS.WritableStream): Progress {
  return (stream as Partial<WriteStream>).isTTY ? new BarProgress(stream) : new LineProgress(stream)
}

class BarProgress implements Progress {
  private readonly bars: MultiBar
  private bar: SingleBar | undefined

  constructor(private readonly stream: NodeJS.WritableStream) {
    this.bars = new MultiBar(
      {
        stream,
        format: '{bar} {value}/{total} {details}',
        barsize: Math.max(4, Math.min(24, (stream as WriteStream).columns - 90)),
        autopadding: false,
        hideCursor: true,
        gracefulExit: false,
        linewrap: false,
      },
      Presets.shades_classic,
    )
  }

  step(record: StepRecord, { totalSteps, etaSeconds }: { totalSteps: number; etaSeconds: number }): void {
    const details = { details: describeStep(record, etaSeconds) }
    this.bar ??= this.bars.create(totalSteps, record.step, details)
    this.bar.setTotal(totalSteps)
    this.bar.update(record.step, details)
  }

  note(text: string): void {
    if (!this.bar) this.stream.write(`${text}\n`)
    else {
      this.bars.log(`${text}\n`)
      this.bars.update()
    }
  }

  stop(): void {
    if (!this.bar) return
    this.bars.stop()
    this.bar = undefined
  }
}

class LineProgress implements Progress {
  private lastLine = Number.NEGATIVE_INFINITY

  constructor(private readonly stream: NodeJS.WritableStream) {}

  step(record: StepRecord, { totalSteps, etaSeconds }: { totalSteps: number; etaSeconds: number }): void {
    const now = performance.now() / 1000
    if (now - this.lastLine < LINE_INTERVAL && record.step !== totalSteps) return
    this.lastLine = now
    this.stream.write(`step ${record.step}/${totalSteps} ${describeStep(record, etaSeconds)}\n`)
  }

  note(text: string): void {
    this.stream.write(`${text}\n`)
  }

  stop(): void {}
}

function describeStep(record: StepRecord, etaSeconds: number): string {
  return [
    `loss ${record.loss.toFixed(3)}`,
    `ETA ${formatDuration(etaSeconds)}`,
    `${formatCount(record.tokensPerSecond)} tok/s`,
    `${formatShare(record.utilisation)} of peak`,
    ...(record.attentionShare === null ? [] : [`attention ${formatShare(record.attentionShare)}`]),
    formatBytes(record.residentBytes),
  ].join(' · ')
}
