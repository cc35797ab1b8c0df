import type { Row } from '../results'
import { groups, milliseconds, pivot, table } from './markdown'
import { attentionSummary } from './summary'

/** From here on rates are in TFLOP/s. */
const fast = 1e12

/** Attention over N on one adapter. */
export function webgpuSection(rows: readonly Row[]): string[] {
  const peak = Math.max(0, ...rows.map((row) => row.peak?.flopsPerSecond ?? 0))
  const unit = peak >= fast ? 'TFLOP/s' : 'GFLOP/s'
  const tables = pivot(
    rows,
    ({ name }) => name.replace(/N \d+ /, ''),
    ({ parameters }) => String(parameters.seqlenQ),
    'N',
    peak >= fast ? teraflops : undefined,
  )
  return [
    '## WebGPU',
    `On ${devicesOf(rows)}.`,
    attentionSummary(rows),
    `Cells are ms / ${unit} / share of the peak of multiply-adds of float32 in WGSL, which units that multiply matrices are not bound by.`,
    ...tables,
  ]
}

function devicesOf(rows: readonly Row[]): string {
  const names = rows.flatMap(({ peak }) => (peak === null ? [] : [peak.isa]))
  return [...new Set(names)].join(', ') || 'no adapter'
}

function teraflops(perSecond: number | null): string {
  return perSecond === null ? '' : (perSecond / 1e12).toPrecision(3)
}

/** Short sequences in a batch: what a call takes in a queue of calls, and what enqueueing it takes. */
export function webgpuSmallSection(rows: readonly Row[]): string[] {
  const { batchSize, nHeads } = (rows[0] as Row).parameters
  const calls = groups(
    rows.filter(({ parameters }) => parameters.until === 'done'),
    ({ name }) => name,
  )
  const contenders = [...new Set(calls.flatMap(([, of]) => of.map(({ contender }) => contender)))]
  const reasons: string[] = []
  const cell = (row: Row | undefined) => {
    if (!row || row.timing !== null) return row ? milliseconds(row) : ''
    if (!reasons.includes(row.rejected ?? '')) reasons.push(row.rejected ?? '')
    return `no time (${reasons.indexOf(row.rejected ?? '') + 1})`
  }
  const lines = calls.map(([name, of]) => {
    const enqueued = rows.find(({ parameters, name: other }) => parameters.until === 'enqueued' && other === `${name}, enqueued`)?.timing
    const [flash, standard] = ['webgpu', 'standard-webgpu'].map((contender) => of.find((row) => row.contender === contender)?.timing)
    const overhead = enqueued ? (enqueued.median * 1e6).toPrecision(3) : ''
    const ratio = flash && standard ? `${(standard.median / flash.median).toFixed(2)}×` : ''
    const share = enqueued && standard ? `${((enqueued.median / standard.median) * 100).toFixed(1)} %` : ''
    return [name, overhead, ...contenders.map((contender) => cell(of.find((row) => row.contender === contender))), ratio, share]
  })
  const header = [
    ...['attention', 'launch, µs', ...contenders.map((contender) => `${contender} ms`)],
    ...['flash is faster than standard by', 'launch / standard pass'],
  ]
  return [
    '### Short sequences',
    `${batchSize} sequences of ${nHeads} heads in a call. Times are of calls in a queue; \`launch\` is what a call takes on the host until it returns, recorded and submitted.`,
    table(header, lines),
    ...reasons.map((reason, i) => `(${i + 1}) ${reason}`),
  ]
}
