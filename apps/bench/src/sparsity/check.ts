import { visible } from '@tilegrad/block-sparse'
import type { BlockMask, TypedArray } from '@tilegrad/tensor'
import { sampledRows } from '../attention/check'
import { type HeadRow, keyRow, offset, type Precision, queryRow, type RowStatistics, rowStatistics } from '../attention/oracle'
import type { AttentionInputs, AttentionResult, AttentionShape } from '../attention/problem'
import { type Check, type Comparison, check, forwardFactor, gradientFactor } from '../check'

/** Float64 takes a second for about as many pairs of D 64; the rows of so many keys are sampled. */
const [fewPairs, sampledKeys] = [2 ** 22, 12]

/** A result in which the lse is known, and gradients where they were computed. */
export type CheckedResult = AttentionResult & { readonly lse: TypedArray }

/**
 * Compares attention under a block mask (null: none) with float64: the first, middle and last 4 rows of the first and the last head. Visible keys of a row, or queries of
 * a key, are gathered, and on them attention is plain. Rows of dk and dv need lse and delta of all queries that see them: in float64 where
 * that takes a second, beyond it from the lse and out that were timed, which the sampled rows vouch for.
 */
export function checkBlockSparse(
  inputs: AttentionInputs,
  result: CheckedResult,
  shape: AttentionShape,
  blockMask: BlockMask | null,
): Check[] {
  const parts = new Map<string, Comparison[]>()
  const add = (name: string, comparison: Comparison) => parts.set(name, [...(parts.get(name) ?? []), comparison])
  const { batchSize, nHeads, seqlenQ, seqlenK } = shape
  const last = { batch: batchSize - 1, head: nHeads - 1 }
  const { gradients } = result
  for (const at of sampledRows(seqlenQ, [{ batch: 0, head: 0 }, last])) {
    const keys = visibleIndices(seqlenK, (key) => sees(blockMask, at, at.row, key))
    const one = rowProblem(inputs, shape, at, keys)
    const compute = (precision: Precision) => queryRow(one.inputs, one.shape, { batch: 0, head: 0, row: 0 }, precision)
    const [oracle, naive] = [compute('f64'), compute('f32')]
    add('out', { actual: rowOf(result.out, shape, seqlenQ, at), oracle: oracle.out, naive: naive.out })
    if (gradients) add('dq', { actual: rowOf(gradients.dq, shape, seqlenQ, at), oracle: oracle.dq, naive: naive.dq })
    add('lse', { actual: [result.lse[lseIndex(shape, at)] as number], oracle: [oracle.lse], naive: [naive.lse] })
  }
  if (gradients) {
    for (const at of sampledRows(seqlenK, [last])) {
      const queries = visibleIndices(seqlenQ, (query) => sees(blockMask, at, query, at.row))
      const one = keyProblem(inputs, shape, at, queries)
      const statistics = statisticsOf(inputs, result, shape, at, queries, blockMask)
      const compute = (precision: Precision) => keyRow(one.inputs, one.shape, { batch: 0, head: 0, row: 0 }, statistics, precision)
      const [oracle, naive] = [compute('f64'), compute('f32')]
      add('dk', { actual: rowOf(gradients.dk, shape, seqlenK, at), oracle: oracle.dk, naive: naive.dk })
      add('dv', { actual: rowOf(gradients.dv, shape, seqlenK, at), oracle: oracle.dv, naive: naive.dv })
    }
  }
  return [...parts].map(([name, comparisons]) => check(name, comparisons, name.startsWith('d') ? gradientFactor : forwardFactor))
}

function sees(blockMask: BlockMask | null, { batch, head }: HeadRow, query: number, key: number): boolean {
  return blockMask === null || visible(blockMask, batch, head, query, key)
}

function visibleIndices(length: number, isVisible: (index: number) => boolean): number[] {
  return Array.from({ length }, (_, i) => i).filter(isVisible)
}

/** One query and the keys that it sees. */
function rowProblem(inputs: AttentionInputs, shape: AttentionShape, at: HeadRow, keys: readonly number[]) {
  const query = [at.row]
  return {
    inputs: {
      q: gather(inputs.q, shape, shape.seqlenQ, at, query),
      k: gather(inputs.k, shape, shape.seqlenK, at, keys),
      v: gather(inputs.v, shape, shape.seqlenK, at, keys),
      dout: gather(inputs.dout, shape, shape.seqlenQ, at, query),
    },
    shape: { ...oneHead(shape), seqlenQ: 1, seqlenK: keys.length },
  }
}

/** One key and the queries that see it. */
function keyProblem(inputs: AttentionInputs, shape: AttentionShape, at: HeadRow, queries: readonly number[]) {
  const key = [at.row]
  return {
    inputs: {
      q: gather(inputs.q, shape, shape.seqlenQ, at, queries),
      k: gather(inputs.k, shape, shape.seqlenK, at, key),
      v: gather(inputs.v, shape, shape.seqlenK, at, key),
      dout: gather(inputs.dout, shape, shape.seqlenQ, at, queries),
    },
    shape: { ...oneHead(shape), seqlenQ: queries.length, seqlenK: 1 },
  }
}

function oneHead(shape: AttentionShape): AttentionShape {
  return { batchSize: 1, seqlenQ: 0, seqlenK: 0, nHeads: 1, headDim: shape.headDim, causal: false }
}

/** lse and delta of the queries. */
function statisticsOf(
  inputs: AttentionInputs,
  result: CheckedResult,
  shape: AttentionShape,
  at: HeadRow,
  queries: readonly number[],
  blockMask: BlockMask | null,
): RowStatistics {
  const exact = queries.length * shape.seqlenK * sampledKeys <= fewPairs
  const of = (row: number) => (exact ? float64Statistics : timedStatistics)(inputs, result, shape, { ...at, row }, blockMask)
  const all = queries.map(of)
  return { lse: Float64Array.from(all, ({ lse }) => lse), delta: Float64Array.from(all, ({ delta }) => delta) }
}

interface Statistics {
  readonly lse: number
  readonly delta: number
}

function float64Statistics(
  inputs: AttentionInputs,
  _result: CheckedResult,
  shape: AttentionShape,
  at: HeadRow,
  blockMask: BlockMask | null,
): Statistics {
  const keys = visibleIndices(shape.seqlenK, (key) => sees(blockMask, at, at.row, key))
  const one = rowProblem(inputs, shape, at, keys)
  const { lse, delta } = rowStatistics(one.inputs, one.shape, 0, 0)
  return { lse: lse[0] as number, delta: delta[0] as number }
}

function timedStatistics(inputs: AttentionInputs, { out, lse }: CheckedResult, shape: AttentionShape, at: HeadRow): Statistics {
  const start = offset(shape, shape.seqlenQ, at)
  let delta = 0
  for (let c = start; c < start + shape.headDim; c++) delta += (inputs.dout[c] as number) * (out[c] as number)
  return { lse: lse[lseIndex(shape, at)] as number, delta }
}

function lseIndex({ nHeads, seqlenQ }: AttentionShape, { batch, head, row }: HeadRow): number {
  return (batch * nHeads + head) * seqlenQ + row
}

function rowOf(whole: TypedArray, shape: AttentionShape, seqlen: number, at: HeadRow): TypedArray {
  const start = offset(shape, seqlen, at)
  return whole.subarray(start, start + shape.headDim)
}

function gather(whole: Float32Array, shape: AttentionShape, seqlen: number, at: HeadRow, rows: readonly number[]): Float32Array {
  const part = new Float32Array(rows.length * shape.headDim)
  for (const [i, row] of rows.entries()) {
    const start = offset(shape, seqlen, { ...at, row })
    part.set(whole.subarray(start, start + shape.headDim), i * shape.headDim)
  }
  return part
}
