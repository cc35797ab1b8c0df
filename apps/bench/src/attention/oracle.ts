import { type AttentionInputs, type AttentionShape, keyHeads } from './problem'

/** Sequential sums in float64, or with every operation rounded to float32: what naive code in that precision makes of it. */
export type Precision = 'f64' | 'f32'

/** Rows are addressed by batch, head and position. */
export interface HeadRow {
  readonly batch: number
  readonly head: number
  readonly row: number
}

export interface QueryRow {
  readonly out: Float64Array
  readonly lse: number
  readonly dq: Float64Array
}

/** Keys that query `row` sees are 0 … keys − 1. */
export function visibleKeys({ seqlenQ, seqlenK, causal }: AttentionShape, row: number): number {
  return causal ? Math.max(0, Math.min(seqlenK, row + 1 + seqlenK - seqlenQ)) : seqlenK
}

/** out, lse and dq of one query, from their definitions: O(seqlenK·headDim). */
export function queryRow(inputs: AttentionInputs, shape: AttentionShape, at: HeadRow, precision: Precision): QueryRow {
  const round = precision === 'f32' ? Math.fround : identity
  const { headDim: d } = shape
  const scale = round(1 / Math.sqrt(d))
  const keys = visibleKeys(shape, at.row)
  const query = offset(shape, shape.seqlenQ, at)
  // Query head h reads key head ⌊h·nHeadsK/nHeads⌋.
  const nHeadsK = keyHeads(shape)
  const head = Math.floor((at.head * nHeadsK) / shape.nHeads)
  const stride = nHeadsK * d
  const firstKey = (at.batch * shape.seqlenK * nHeadsK + head) * d
  const [p, dp] = [new Float64Array(keys), new Float64Array(keys)]
  let max = Number.NEGATIVE_INFINITY
  for (let j = 0; j < keys; j++) {
    p[j] = round(scale * dot(inputs.q, query, inputs.k, firstKey + j * stride, d, round))
    dp[j] = dot(inputs.dout, query, inputs.v, firstKey + j * stride, d, round)
    if ((p[j] as number) > max) max = p[j] as number
  }
  let sum = 0
  for (let j = 0; j < keys; j++) {
    p[j] = round(Math.exp(round((p[j] as number) - max)))
    sum = round(sum + (p[j] as number))
  }
  const [out, dq] = [new Float64Array(d), new Float64Array(d)]
  let delta = 0
  for (let j = 0; j < keys; j++) {
    p[j] = round((p[j] as number) / sum)
    delta = round(delta + round((p[j] as number) * (dp[j] as number)))
    addScaled(out, p[j] as number, inputs.v, firstKey + j * stride, round)
  }
  for (let j = 0; j < keys; j++) {
    const ds = round(round((p[j] as number) * round((dp[j] as number) - delta)) * scale)
    addScaled(dq, ds, inputs.k, firstKey + j * stride, round)
  }
  return { out, lse: round(max + round(Math.log(sum))), dq }
}

/** What every query row of one head needs to give its share of dk and dv: float64. */
export interface RowStatistics {
  readonly lse: Float64Array
  /** Σ_j p_ij·(dout_i·v_j). */
  readonly delta: Float64Array
}

/** One pass over all pairs of one head, O(seqlenQ·seqlenK·headDim) in plain float64: seconds for 8192². As many heads of k as of q. */
export function rowStatistics(inputs: AttentionInputs, shape: AttentionShape, batch: number, head: number): RowStatistics {
  const { seqlenQ, seqlenK, headDim: d } = shape
  const scale = 1 / Math.sqrt(d)
  const part = (whole: Float32Array, seqlen: number, padding = 0) => headRows(whole, shape, seqlen, batch, head, padding)
  const [q, dout] = [part(inputs.q, seqlenQ), part(inputs.dout, seqlenQ)]
  const [k, v] = [part(inputs.k, seqlenK, keysAtOnce - 1), part(inputs.v, seqlenK, keysAtOnce - 1)]
  const [lse, delta] = [new Float64Array(seqlenQ), new Float64Array(seqlenQ)]
  const [s, dp] = [new Float64Array(seqlenK + keysAtOnce), new Float64Array(seqlenK + keysAtOnce)]
  for (let i = 0; i < seqlenQ; i++) {
    const keys = visibleKeys(shape, i)
    const row = i * d
    for (let j = 0; j < keys; j += keysAtOnce) {
      dotsWithKeys(q, row, k, j * d, d, s, j)
      dotsWithKeys(dout, row, v, j * d, d, dp, j)
    }
    let max = Number.NEGATIVE_INFINITY
    for (let j = 0; j < keys; j++) {
      s[j] = (s[j] as number) * scale
      if ((s[j] as number) > max) max = s[j] as number
    }
    let [sum, weighted] = [0, 0]
    for (let j = 0; j < keys; j++) {
      const p = Math.exp((s[j] as number) - max)
      sum += p
      weighted += p * (dp[j] as number)
    }
    lse[i] = max + Math.log(sum)
    delta[i] = keys === 0 ? 0 : weighted / sum
  }
  return { lse, delta }
}

/** Sums that do not wait for each other: twice as fast as one at a time. */
const keysAtOnce = 4

/** to[at + n] = x[row …]·y[key + n·d …] for `keysAtOnce` rows n of y, each summed in order. */
function dotsWithKeys(x: Float64Array, row: number, y: Float64Array, key: number, d: number, to: Float64Array, at: number): void {
  let [a, b, c, e] = [0, 0, 0, 0]
  for (let i = 0; i < d; i++) {
    const factor = x[row + i] as number
    a += factor * (y[key + i] as number)
    b += factor * (y[key + d + i] as number)
    c += factor * (y[key + 2 * d + i] as number)
    e += factor * (y[key + 3 * d + i] as number)
  }
  to[at] = a
  to[at + 1] = b
  to[at + 2] = c
  to[at + 3] = e
}

/** dk and dv of one key, from the statistics of the rows that see it: O(seqlenQ·headDim). As many heads of k as of q. */
export function keyRow(inputs: AttentionInputs, shape: AttentionShape, at: HeadRow, statistics: RowStatistics, precision: Precision) {
  const round = precision === 'f32' ? Math.fround : identity
  const { headDim: d, seqlenQ } = shape
  const scale = round(1 / Math.sqrt(d))
  const key = offset(shape, shape.seqlenK, at)
  const [dk, dv] = [new Float64Array(d), new Float64Array(d)]
  for (let i = 0; i < seqlenQ; i++) {
    if (visibleKeys(shape, i) <= at.row) continue
    const query = offset(shape, seqlenQ, { ...at, row: i })
    const score = round(scale * dot(inputs.q, query, inputs.k, key, d, round))
    const p = round(Math.exp(round(score - round(statistics.lse[i] as number))))
    const dp = dot(inputs.dout, query, inputs.v, key, d, round)
    const ds = round(round(p * round(dp - round(statistics.delta[i] as number))) * scale)
    addScaled(dv, p, inputs.dout, query, round)
    addScaled(dk, ds, inputs.q, query, round)
  }
  return { dk, dv }
}

/** Where a row starts in [B, S, H, D]. */
export function offset({ nHeads, headDim }: AttentionShape, seqlen: number, { batch, head, row }: HeadRow): number {
  return ((batch * seqlen + row) * nHeads + head) * headDim
}

/** One head's rows, and `padding` rows of zeros. */
function headRows(whole: Float32Array, shape: AttentionShape, seqlen: number, batch: number, head: number, padding: number): Float64Array {
  const part = new Float64Array((seqlen + padding) * shape.headDim)
  for (let row = 0; row < seqlen; row++) {
    const start = offset(shape, seqlen, { batch, head, row })
    part.set(whole.subarray(start, start + shape.headDim), row * shape.headDim)
  }
  return part
}

function identity(x: number): number {
  return x
}

function dot(a: Float32Array, aStart: number, b: Float32Array, bStart: number, length: number, round: (x: number) => number): number {
  let sum = 0
  for (let c = 0; c < length; c++) sum = round(sum + round((a[aStart + c] as number) * (b[bStart + c] as number)))
  return sum
}

function addScaled(to: Float64Array, factor: number, from: Float32Array, start: number, round: (x: number) => number): void {
  for (let c = 0; c < to.length; c++) to[c] = round((to[c] as number) + round(factor * (from[start + c] as number)))
}
