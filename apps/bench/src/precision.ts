import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import type { Backend, TypedArray } from '@tilegrad/tensor'
import { keyRow, offset, queryRow, rowStatistics } from './attention/oracle'
import { type AttentionShape, randomInputs } from './attention/problem'
import { tilegradRunner } from './attention/tilegrad'
import { describeMachine, type Machine } from './machine'

/** Errors of one result against float64, over sampled rows of one head; relative to the root mean square of what float64 says. */
export interface ErrorRow {
  readonly algorithm: 'flash' | 'standard'
  readonly what: 'out' | 'dq' | 'dk' | 'dv'
  readonly seqlen: number
  /** Standard deviation of the scores. */
  readonly logitScale: number
  readonly maxError: number
  readonly rmsError: number
}

export interface PrecisionReport {
  readonly date: string
  readonly machine: Machine
  readonly device: string
  readonly headDim: number
  readonly rows: readonly ErrorRow[]
}

export interface PrecisionOptions {
  readonly seqlens: readonly number[]
  readonly logitScales: readonly number[]
  readonly headDim: number
  readonly causal: boolean
  readonly runtime: 'native' | 'wasm'
  readonly json: string
}

const sampledRows = 64

/** How far float32 attention is from float64, tiled and standard, over N and over how peaked the softmax is. */
export async function benchPrecision(options: PrecisionOptions): Promise<void> {
  const { seqlens, logitScales, headDim, causal, runtime, json } = options
  const backend = await createCpuBackend({ runtime })
  const rows: ErrorRow[] = []
  console.log(
    `${'N'.padStart(6)}${'scale'.padStart(7)}  ${'algorithm'.padEnd(10)}what${'max error'.padStart(12)}${'RMS error'.padStart(12)}`,
  )
  for (const seqlen of seqlens) {
    for (const logitScale of logitScales) {
      const shape = { batchSize: 1, seqlenQ: seqlen, seqlenK: seqlen, nHeads: 1, headDim, causal }
      for (const row of await errorsOf(backend, shape, logitScale)) {
        rows.push(row)
        const head = `${String(seqlen).padStart(6)}${String(logitScale).padStart(7)}  ${row.algorithm.padEnd(10)}${row.what.padEnd(4)}`
        console.log(head + row.maxError.toExponential(1).padStart(12) + row.rmsError.toExponential(1).padStart(12))
      }
    }
  }
  const report: PrecisionReport = { date: new Date().toISOString(), machine: describeMachine(), device: backend.info.driver, headDim, rows }
  await backend.dispose()
  mkdirSync(dirname(json), { recursive: true })
  writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`)
  console.log(`\nRelative to the root mean square of the float64 result, over ${sampledRows} rows. Written to ${json}`)
}

export async function errorsOf(backend: Backend, shape: AttentionShape, logitScale: number): Promise<ErrorRow[]> {
  const inputs = randomInputs(shape, logitScale)
  const statistics = rowStatistics(inputs, shape, 0, 0)
  const count = Math.min(sampledRows, shape.seqlenQ)
  const places = Array.from({ length: count }, (_, i) => ({
    batch: 0,
    head: 0,
    row: Math.round((i * (shape.seqlenQ - 1)) / Math.max(1, count - 1)),
  }))
  const expected = places.map((at) => ({
    at,
    ...queryRow(inputs, shape, at, 'f64'),
    ...keyRow(inputs, shape, at, statistics, 'f64'),
  }))
  const rows: ErrorRow[] = []
  for (const algorithm of ['flash', 'standard'] as const) {
    const runner = tilegradRunner(backend, algorithm, inputs, shape, true)
    await runner.call()
    const { out, gradients } = await runner.result()
    await runner.close()
    if (!gradients) throw new Error('no gradients')
    for (const [what, actual] of Object.entries({ out, ...gradients }) as [ErrorRow['what'], TypedArray][]) {
      const pairs = expected.map((row) => {
        const start = offset(shape, shape.seqlenQ, row.at)
        return { actual: actual.subarray(start, start + shape.headDim), expected: row[what] }
      })
      rows.push({ algorithm, what, seqlen: shape.seqlenQ, logitScale, ...relativeErrors(pairs) })
    }
  }
  return rows
}

/** Over all elements: the largest error and the root of the mean squared error, both over the root mean square of `expected`. */
export function relativeErrors(pairs: readonly { actual: ArrayLike<number>; expected: ArrayLike<number> }[]) {
  let [max, squaredErrors, squares, count] = [0, 0, 0, 0]
  for (const { actual, expected } of pairs) {
    for (let i = 0; i < expected.length; i++) {
      const error = (actual[i] as number) - (expected[i] as number)
      max = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(max, Math.abs(error))
      squaredErrors += error * error
      squares += (expected[i] as number) ** 2
      count++
    }
  }
  const size = Math.sqrt(squares / count)
  return { maxError: max / size, rmsError: Math.sqrt(squaredErrors / count) / size }
}
