import { type AttentionInputs, randomInputs } from '../attention/problem'
import { describeMachine, type Machine } from '../machine'
import { relativeErrors } from './errors'

/** Which quantities of a float64 forward and backward pass are rounded to float32, and how. */
export interface Rounding {
  /**
   * S of float32 dot products: q·k in both passes, scaled where it is used; (scale·q)·k in both passes; or (scale·q)·k forward and q·(scale·k)
   * backward, whose roundings are independent.
   */
  readonly scores?: 'q·k' | '(cq)·k' | 'independent'
  /** P recomputed from lse in float32, or from the row's maximum and the logarithm of its sum, both float32; or P of the forward pass kept. */
  readonly p?: 'lse' | 'maximum and sum' | 'kept'
  /** dP of float32 dot products, with delta = dout·out summed in another order or in that of dP, or delta = Σ P·dP. */
  readonly delta?: 'out' | 'out in the order of dP' | 'P'
  /** P, dS, out and the sums of the products that make out, dq, dk and dv. */
  readonly products?: true
}

const flash = { scores: 'independent', p: 'lse', delta: 'out', products: true } as const
const unscaled = { ...flash, scores: 'q·k' } as const
const pair = { ...unscaled, p: 'maximum and sum' } as const

/** One source alone, then everything together, then flash with one thing after another changed. */
export const roundings: ReadonlyMap<string, Rounding> = new Map<string, Rounding>([
  ['sums of products', { products: true }],
  ['dP, delta = Σ P·dP', { delta: 'P' }],
  ['dP, delta = dout·out', { delta: 'out' }],
  ['lse', { p: 'lse' }],
  ['S = q·k in both passes', { scores: 'q·k' }],
  ['S = (cq)·k in both passes', { scores: '(cq)·k' }],
  ['S = (cq)·k forward, q·(ck) backward', { scores: 'independent' }],
  ['standard: S = q·k, P kept, delta = Σ P·dP', { scores: 'q·k', p: 'kept', delta: 'P', products: true }],
  ['flash: S = (cq)·k and q·(ck), lse, delta = dout·out', flash],
  ['flash, maximum and sum instead of lse', { ...flash, p: 'maximum and sum' }],
  ['flash, S = (cq)·k in both passes', { ...flash, scores: '(cq)·k' }],
  ['flash, S = q·k in both passes', unscaled],
  ['flash, S = q·k, maximum and sum', pair],
  ['flash, S = q·k, maximum and sum, delta in the order of dP', { ...pair, delta: 'out in the order of dP' }],
])

export interface SourceRow {
  readonly source: string
  readonly logitScale: number
  readonly what: 'dq' | 'dk' | 'dv'
  readonly maxError: number
  readonly rmsError: number
}

export interface SourceReport {
  readonly date: string
  readonly machine: Machine
  readonly seqlen: number
  readonly headDim: number
  readonly rows: readonly SourceRow[]
}

/** What each rounding of the backward pass contributes: float64 attention of one head with nothing but that quantity in float32. */
export function measureSources(options: { seqlen: number; headDim: number; logitScales: readonly number[] }): SourceReport {
  const { seqlen, headDim, logitScales } = options
  const rows: SourceRow[] = []
  for (const logitScale of logitScales) {
    const head = prepare(seqlen, headDim, logitScale)
    const exact = gradients(head, {})
    for (const [source, rounding] of roundings) {
      const rounded = gradients(head, rounding)
      for (const what of ['dq', 'dk', 'dv'] as const) {
        rows.push({ source, logitScale, what, ...relativeErrors([{ actual: rounded[what], expected: exact[what] }]) })
      }
      const errors = rows.slice(-3).map(({ what, rmsError }) => `${what} ${rmsError.toExponential(1)}`)
      console.log(`${String(logitScale).padStart(4)}  ${source.padEnd(60)}${errors.join('  ')}`)
    }
  }
  return { date: new Date().toISOString(), machine: describeMachine(), seqlen, headDim, rows }
}

const log2e = Math.fround(Math.LOG2E)

interface Head extends AttentionInputs {
  readonly seqlen: number
  readonly headDim: number
  /** Scores in float64, in natural units like all others here. */
  readonly s: Float64Array
  /** Of float32 dot products q·k, with c = scale·log2(e) (cq)·k, and with c = scale q·(ck). */
  readonly unscaled: Float64Array
  readonly scaledQ: Float64Array
  readonly scaledK: Float64Array
  readonly dp: Float64Array
  readonly dpRounded: Float64Array
}

export function prepare(seqlen: number, headDim: number, logitScale: number): Head {
  const inputs = randomInputs({ batchSize: 1, seqlenQ: seqlen, seqlenK: seqlen, nHeads: 1, headDim, causal: false }, logitScale)
  const { q, k, v, dout } = inputs
  const scale = 1 / Math.sqrt(headDim)
  const scaled = (x: Float32Array, factor: number) => x.map((value) => value * Math.fround(factor))
  const pairs = (a: Float32Array, b: Float32Array, round: Round) => {
    const products = new Float64Array(seqlen * seqlen)
    for (let i = 0; i < seqlen; i++)
      for (let j = 0; j < seqlen; j++) products[i * seqlen + j] = dot(a, i * headDim, b, j * headDim, headDim, round)
    return products
  }
  return {
    ...inputs,
    seqlen,
    headDim,
    s: pairs(q, k, identity).map((x) => x * scale),
    unscaled: pairs(q, k, Math.fround).map((x) => x * scale),
    scaledQ: pairs(scaled(q, scale * log2e), k, Math.fround).map((x) => x / log2e),
    scaledK: pairs(q, scaled(k, scale), Math.fround),
    dp: pairs(dout, v, identity),
    dpRounded: pairs(dout, v, Math.fround),
  }
}

/** dq, dk and dv of one head, [seqlen, headDim]. */
export function gradients(head: Head, rounding: Rounding) {
  const { seqlen, headDim, q, k, dout } = head
  const round = rounding.products ? Math.fround : identity
  const scale = 1 / Math.sqrt(headDim)
  const [dq, dk, dv] = [0, 0, 0].map(() => new Float64Array(seqlen * headDim)) as [Float64Array, Float64Array, Float64Array]
  for (let i = 0; i < seqlen; i++) {
    const { p, delta } = row(head, rounding, i)
    const dp = (rounding.delta ? head.dpRounded : head.dp).subarray(i * seqlen, (i + 1) * seqlen)
    for (let j = 0; j < seqlen; j++) {
      const pj = round(p[j] as number)
      const ds = round(pj * round((dp[j] as number) - delta))
      for (let c = 0; c < headDim; c++) {
        const [row, column] = [i * headDim + c, j * headDim + c]
        dq[row] = round((dq[row] as number) + ds * (k[column] as number))
        dk[column] = round((dk[column] as number) + ds * (q[row] as number))
        dv[column] = round((dv[column] as number) + pj * (dout[row] as number))
      }
    }
  }
  const scaled = (x: number) => round(x * scale)
  return { dq: dq.map(scaled), dk: dk.map(scaled), dv }
}

/** P of one row as the backward pass has it, and its delta. */
function row(head: Head, { scores, p: recompute, delta: kind, products }: Rounding, i: number) {
  const { seqlen, headDim, v, dout } = head
  const [begin, end] = [i * seqlen, (i + 1) * seqlen]
  const ofRow = (matrix: Float64Array) => matrix.subarray(begin, end)
  const forward = ofRow(scores === undefined ? head.s : scores === 'q·k' ? head.unscaled : head.scaledQ)
  const max = forward.reduce((a, b) => Math.max(a, b))
  const unnormalised = forward.map((s) => Math.exp(s - max))
  const sum = unnormalised.reduce((a, b) => a + b)
  const kept = unnormalised.map((e) => e / sum)
  const backward = scores === 'independent' ? ofRow(head.scaledK) : forward
  const p = kept.slice()
  if (recompute !== 'kept') {
    const lse = { exact: max + Math.log(sum), lse: Math.fround(Math.fround(max + Math.log(sum)) * log2e) / log2e }
    const logSum = Math.fround(Math.log(sum))
    const shift = recompute === 'maximum and sum' ? max + logSum : lse[recompute ?? 'exact']
    for (let j = 0; j < seqlen; j++) p[j] = Math.exp((backward[j] as number) - shift)
  }
  const sumOf = (weights: Float64Array, values: Float64Array, round: Round) =>
    weights.reduce((total, weight, j) => round(total + weight * (values[j] as number)), 0)
  if (kind === undefined) return { p, delta: sumOf(kept, ofRow(head.dp), identity) }
  if (kind === 'P') return { p, delta: sumOf(p, ofRow(head.dpRounded), Math.fround) }
  const round = products ? Math.fround : identity
  const out = new Float64Array(headDim)
  for (let j = 0; j < seqlen; j++) {
    for (let c = 0; c < headDim; c++) out[c] = round((out[c] as number) + (kept[j] as number) * (v[j * headDim + c] as number))
  }
  const order = kind === 'out' ? 16 : 1
  return { p, delta: laneDot(dout.subarray(i * headDim), Float32Array.from(out), headDim, order) }
}

/** As a vector of so many lanes sums a dot product: each lane every lanes-th product, then the lanes. */
function laneDot(a: Float32Array, b: Float32Array, length: number, lanes: number): number {
  const sums = new Float32Array(lanes)
  for (let c = 0; c < length; c++) sums[c % lanes] = (sums[c % lanes] as number) + (a[c] as number) * (b[c] as number)
  return sums.reduce((total, sum) => Math.fround(total + sum), 0)
}

type Round = (x: number) => number
const identity: Round = (x) => x

/** With `Math.fround`, fused multiply-adds: a product of two float32 numbers is exact in float64. */
function dot(a: Float32Array, aStart: number, b: Float32Array, bStart: number, length: number, round: Round): number {
  let sum = 0
  for (let c = 0; c < length; c++) sum = round(sum + (a[aStart + c] as number) * (b[bStart + c] as number))
  return sum
}
