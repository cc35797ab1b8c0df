import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TypedArray } from '@tilegrad/tensor'
import { type Check, type Comparison, check, type ElementType, forwardFactor, gradientFactor } from '../check'
import { type HeadRow, keyRow, offset, type Precision, queryRow, type RowStatistics, rowStatistics } from './oracle'
import { type AttentionInputs, type AttentionResult, type AttentionShape, keyHeads, roundTo } from './problem'

const rowsPerBlock = 4
/** A float64 pass over all pairs of a head takes half a minute at this length, and four times that at twice the length. */
const longestPass = 16384

/**
 * Compares what was timed with float64. All of it would take as long as N² multiplications in JavaScript do, so it is a sample: the first,
 * middle and last 4 rows of the first and the last head, each exactly. Rows of dk and dv need the statistics of all queries, which are
 * computed in float64 too, for the last head alone, and kept in `cacheFolder` for the other contenders of the same shape. Beyond 16,384
 * queries they are taken from the lse and out that were timed, which the sampled rows vouch for.
 *
 * @param type of the inputs, which hold no other numbers, and of the results but lse
 */
export function checkAttention(
  inputs: AttentionInputs,
  result: AttentionResult,
  shape: AttentionShape,
  cacheFolder?: string,
  type: ElementType = 'f32',
): Check[] {
  const parts = new Map<string, Comparison[]>()
  const add = (name: string, comparison: Comparison) => parts.set(name, [...(parts.get(name) ?? []), comparison])
  const { batchSize, nHeads, seqlenQ, seqlenK } = shape
  const last = { batch: batchSize - 1, head: nHeads - 1 }
  const { gradients, lse } = result
  if (gradients && keyHeads(shape) !== nHeads) throw new Error('gradients of shared keys are not checked here')

  for (const at of sampledRows(seqlenQ, [{ batch: 0, head: 0 }, last])) {
    const compute = (precision: Precision) => queryRow(inputs, shape, at, precision)
    const [oracle, naive] = [compute('f64'), compute('f32')]
    add('out', { actual: row(result.out, shape, seqlenQ, at), oracle: oracle.out, naive: naive.out })
    if (gradients) add('dq', { actual: row(gradients.dq, shape, seqlenQ, at), oracle: oracle.dq, naive: naive.dq })
    if (!lse) continue
    const index = (at.batch * nHeads + at.head) * seqlenQ + at.row
    add('lse', { actual: lse.subarray(index, index + 1), oracle: [oracle.lse], naive: [naive.lse] })
  }
  if (gradients) {
    const statistics =
      lse && seqlenQ > longestPass
        ? timedStatistics(inputs, result.out, lse, shape, last)
        : cached(cacheFolder, shape, () => rowStatistics(inputs, shape, last.batch, last.head))
    for (const at of sampledRows(seqlenK, [last])) {
      const compute = (precision: Precision) => keyRow(inputs, shape, at, statistics, precision)
      const [oracle, naive] = [compute('f64'), compute('f32')]
      add('dk', { actual: row(gradients.dk, shape, seqlenK, at), oracle: oracle.dk, naive: naive.dk })
      add('dv', { actual: row(gradients.dv, shape, seqlenK, at), oracle: oracle.dv, naive: naive.dv })
    }
  }
  return [...parts].map(([name, comparisons]) => {
    const stored = name === 'lse' ? 'f32' : type
    const rounded = comparisons.map((part) => ({ ...part, naive: roundTo(stored, Float32Array.from(part.naive)) }))
    return check(name, rounded, name.startsWith('d') ? gradientFactor : forwardFactor, stored)
  })
}

function timedStatistics(
  { dout }: AttentionInputs,
  out: TypedArray,
  lse: TypedArray,
  shape: AttentionShape,
  { batch, head }: Omit<HeadRow, 'row'>,
): RowStatistics {
  const { seqlenQ, nHeads, headDim } = shape
  const delta = Float64Array.from({ length: seqlenQ }, (_, row) => {
    const start = offset(shape, seqlenQ, { batch, head, row })
    let sum = 0
    for (let c = start; c < start + headDim; c++) sum += (dout[c] as number) * (out[c] as number)
    return sum
  })
  const first = (batch * nHeads + head) * seqlenQ
  return { lse: Float64Array.from(lse.subarray(first, first + seqlenQ)), delta }
}

/** The first, middle and last rows of the heads. */
export function sampledRows(seqlen: number, heads: readonly Omit<HeadRow, 'row'>[]): HeadRow[] {
  const perBlock = Math.min(rowsPerBlock, seqlen)
  const starts = [0, (seqlen - perBlock) >> 1, seqlen - perBlock]
  const positions = new Set(starts.flatMap((start) => Array.from({ length: perBlock }, (_, i) => start + i)))
  const distinct = new Map(heads.map((head) => [`${head.batch} ${head.head}`, head]))
  return [...distinct.values()].flatMap((head) => [...positions].map((row) => ({ ...head, row })))
}

function row(whole: TypedArray, shape: AttentionShape, seqlen: number, at: HeadRow): TypedArray {
  const start = offset(shape, seqlen, at)
  return whole.subarray(start, start + shape.headDim)
}

/** Inputs depend on the shape alone, and so do the statistics. */
function cached(folder: string | undefined, shape: AttentionShape, compute: () => RowStatistics): RowStatistics {
  if (folder === undefined) return compute()
  const file = join(folder, `${Object.values(shape).join('-')}.f64`)
  const n = shape.seqlenQ
  try {
    const { buffer, byteOffset } = readFileSync(file)
    const bytes = buffer.slice(byteOffset, byteOffset + 16 * n)
    return { lse: new Float64Array(bytes, 0, n), delta: new Float64Array(bytes, 8 * n, n) }
  } catch {
    const statistics = compute()
    mkdirSync(folder, { recursive: true })
    writeFileSync(file, Buffer.concat([statistics.lse, statistics.delta].map((x) => Buffer.from(x.buffer))))
    return statistics
  }
}
