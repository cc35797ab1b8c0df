import { createCpuBackend } from '@tilegrad/kernels-cpu'
import type { Backend, TypedArray } from '@tilegrad/tensor'
import { keyRow, offset, queryRow, rowStatistics } from '../attention/oracle'
import { type AttentionShape, randomInputs } from '../attention/problem'
import { tilegradRunner } from '../attention/tilegrad'
import { describeMachine, type Machine } from '../machine'

export const results = ['out', 'lse', 'dq', 'dk', 'dv'] as const
/** What attention returns; standard attention has no lse. */
export type Result = (typeof results)[number]

export const algorithms = ['flash', 'standard', 'naive'] as const
/** `naive`: the definitions with sequential float32 sums; its dk and dv recompute P from float64's lse and delta, rounded to float32. */
export type Algorithm = (typeof algorithms)[number]

/** Errors of one result against float64, over sampled rows of one head; relative to the root mean square of what float64 says. */
export interface ErrorRow {
  readonly algorithm: Algorithm
  readonly what: Result
  readonly seqlen: number
  /** Standard deviation of the scores. */
  readonly logitScale: number
  readonly maxError: number
  readonly rmsError: number
}

export interface ErrorReport {
  readonly date: string
  readonly machine: Machine
  readonly device: string
  readonly headDim: number
  readonly causal: boolean
  readonly rows: readonly ErrorRow[]
}

export interface ErrorOptions {
  readonly seqlens: readonly number[]
  readonly logitScales: readonly number[]
  readonly headDim: number
  readonly causal: boolean
  readonly runtime: 'native' | 'wasm'
}

const sampledRows = 64

/** How far float32 attention is from float64, tiled, standard and naive, over N and over how peaked the softmax is. */
export async function measureErrors({ seqlens, logitScales, headDim, causal, runtime }: ErrorOptions): Promise<ErrorReport> {
  const backend = await createCpuBackend({ runtime })
  const rows: ErrorRow[] = []
  console.log(`Relative to the root mean square of the float64 result, over ${sampledRows} rows.\n`)
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
  await backend.dispose()
  return { date: new Date().toISOString(), machine: describeMachine(), device: backend.info.driver, headDim, causal, rows }
}

export async function errorsOf(backend: Backend, shape: AttentionShape, logitScale: number): Promise<ErrorRow[]> {
  const inputs = randomInputs(shape, logitScale)
  const statistics = rowStatistics(inputs, shape, 0, 0)
  const count = Math.min(sampledRows, shape.seqlenQ)
  const places = Array.from({ length: count }, (_, i) => Math.round((i * (shape.seqlenQ - 1)) / Math.max(1, count - 1)))
  const compute = (precision: 'f64' | 'f32') =>
    places.map((row) => {
      const at = { batch: 0, head: 0, row }
      const { lse, ...rest } = queryRow(inputs, shape, at, precision)
      return { ...rest, lse: [lse], ...keyRow(inputs, shape, at, statistics, precision) }
    })
  const [expected, naive] = [compute('f64'), compute('f32')]
  const errors = (algorithm: Algorithm, what: Result, actual: (i: number, row: number) => ArrayLike<number>): ErrorRow => {
    const pairs = expected.map((row, i) => ({ actual: actual(i, places[i] as number), expected: row[what] }))
    return { algorithm, what, seqlen: shape.seqlenQ, logitScale, ...relativeErrors(pairs) }
  }
  const rows: ErrorRow[] = []
  for (const algorithm of ['flash', 'standard'] as const) {
    const runner = tilegradRunner(backend, algorithm, inputs, shape, 'forward+backward')
    await runner.call()
    const { out, lse, gradients } = await runner.result()
    await runner.close()
    if (!gradients) throw new Error('no gradients')
    if (lse) rows.push(errors(algorithm, 'lse', (_, row) => lse.subarray(row, row + 1)))
    for (const [what, whole] of Object.entries({ out, ...gradients }) as [Result, TypedArray][]) {
      const start = (row: number) => offset(shape, shape.seqlenQ, { batch: 0, head: 0, row })
      rows.push(errors(algorithm, what, (_, row) => whole.subarray(start(row), start(row) + shape.headDim)))
    }
  }
  return [...rows, ...results.map((what) => errors('naive', what, (i) => naive[i]?.[what] ?? []))]
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
