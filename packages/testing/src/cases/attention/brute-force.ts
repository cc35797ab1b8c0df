import { attentionRandomWord } from '@tilegrad/core-math'
import { maskSees } from '../../random-mask'
import { type AttentionCase, type BiasCase, biasShape, lengthsOf } from './attention-data'

type Elements = ArrayLike<number>

/** Row-major elements of the tensors of a case. */
export type AttentionData = Readonly<Record<'q' | 'k' | 'v' | 'dout', Elements>> &
  Partial<Readonly<Record<'alibiSlopes' | 'bias' | 'sink', Elements>>>

/**
 * Attention pair by pair in float64, from the definition of each option and nothing else: no bands, tiles or broadcast strides.
 *
 * The oracle itself is checked against it, and it gives what no kernel does: `terms`, for the gradients that sum over many pairs
 * Σ p·(|dP| + Σ|dout∘out|) (times the distance, for ALiBi), the largest of each gradient's elements.
 */
export function bruteForceAttention(of: AttentionCase, data: AttentionData) {
  const sums = emptySums(of, data)
  const { batchSize } = lengthsOf(of)
  for (let b = 0; b < batchSize; b++) {
    const row = rowOf(of, b)
    for (let h = 0; h < of.nHeads; h++) {
      for (let i = 0; i < row.seqlenQ; i++) addRow(sums, of, data, row, b, h, i)
    }
  }
  const { alibiTerms, biasTerms, sinkTerms, ...results } = sums
  return {
    ...results,
    terms: {
      ...(of.alibi && { dalibiSlopes: largest(alibiTerms) }),
      ...(of.bias && { dbias: largest(biasTerms) }),
      ...(of.sink && { dsink: largest(sinkTerms) }),
    } as Record<string, number>,
  }
}

type Sums = ReturnType<typeof emptySums>

function emptySums(of: AttentionCase, data: AttentionData) {
  const { totalQ } = lengthsOf(of)
  const zeros = (elements: Elements | undefined) => new Float64Array(elements?.length ?? 0)
  return {
    out: zeros(data.dout),
    lse: new Float64Array(totalQ * of.nHeads),
    dq: zeros(data.q),
    dk: zeros(data.k),
    dv: zeros(data.v),
    dalibiSlopes: zeros(data.alibiSlopes),
    dbias: zeros(data.bias),
    dsink: zeros(data.sink),
    alibiTerms: zeros(data.alibiSlopes),
    biasTerms: zeros(data.bias),
    sinkTerms: zeros(data.sink),
  }
}

/** Where sequence b lies. */
function rowOf(of: AttentionCase, b: number) {
  const { cuSeqlensQ, cuSeqlensK, totalQ } = lengthsOf(of)
  const [beginQ, beginK] = [cuSeqlensQ[b] as number, cuSeqlensK[b] as number]
  return { beginQ, beginK, seqlenQ: (cuSeqlensQ[b + 1] as number) - beginQ, seqlenK: (cuSeqlensK[b + 1] as number) - beginK, totalQ }
}

/** Everything that query i of head h in sequence b contributes. */
function addRow(sums: Sums, of: AttentionCase, data: AttentionData, row: ReturnType<typeof rowOf>, b: number, h: number, i: number): void {
  const { nHeads, nHeadsK, headDim, headDimV, options } = of
  const { beginQ, beginK, seqlenQ, seqlenK, totalQ } = row
  const { softmaxScale = 1 / Math.sqrt(headDim), softcap, dropoutP = 0, seed = 0 } = options
  const hk = Math.floor((h * nHeadsK) / nHeads)
  const qAt = ((beginQ + i) * nHeads + h) * headDim
  const outAt = ((beginQ + i) * nHeads + h) * headDimV
  const kAt = (j: number) => ((beginK + j) * nHeadsK + hk) * headDim
  const vAt = (j: number) => ((beginK + j) * nHeadsK + hk) * headDimV
  const distance = (j: number) => Math.abs(i + seqlenK - seqlenQ - j)
  const alibiAt = of.alibi?.axes === 'BH' ? b * nHeads + h : h
  const biasAt = (j: number) => (of.bias ? biasIndex(of.bias, of, b, h, i, j) : -1)

  const cappedRatios = new Float64Array(seqlenK)
  const scores = Float64Array.from({ length: seqlenK }, (_, j) => {
    if (!visible(of, b, h, i, j, seqlenQ, seqlenK)) return Number.NEGATIVE_INFINITY
    let score = softmaxScale * dot(data.q, qAt, data.k, kAt(j), headDim)
    if (softcap !== undefined) {
      cappedRatios[j] = Math.tanh(score / softcap)
      score = softcap * (cappedRatios[j] as number)
    }
    if (data.alibiSlopes) score -= (data.alibiSlopes[alibiAt] as number) * distance(j)
    if (data.bias) score += data.bias[biasAt(j)] as number
    return score
  })
  const sink = data.sink?.[h] ?? Number.NEGATIVE_INFINITY
  const max = scores.reduce((a, s) => Math.max(a, s), sink)
  const lse =
    max === Number.NEGATIVE_INFINITY ? max : max + Math.log(scores.reduce((sum, s) => sum + Math.exp(s - max), Math.exp(sink - max)))
  // Equal lengths: [B, Hq, Sq]; variable: [Hq, totalQ].
  sums.lse[of.sequences ? h * totalQ + beginQ + i : (b * nHeads + h) * seqlenQ + i] = lse
  if (lse === Number.NEGATIVE_INFINITY) return

  const threshold = Math.floor(dropoutP * 2 ** 32)
  const kept = Float64Array.from(scores, (_, j) =>
    dropoutP > 0 ? (attentionRandomWord(seed, b * nHeads + h, i, j) >= threshold ? 1 / (1 - dropoutP) : 0) : 1,
  )
  const p = scores.map((s) => Math.exp(s - lse))
  for (let j = 0; j < seqlenK; j++) add(sums.out, outAt, data.v, vAt(j), headDimV, (p[j] as number) * (kept[j] as number))
  const delta = dot(data.dout, outAt, sums.out, outAt, headDimV)
  let deltaTerms = 0
  for (let d = 0; d < headDimV; d++) deltaTerms += Math.abs((data.dout[outAt + d] as number) * (sums.out[outAt + d] as number))

  for (let j = 0; j < seqlenK; j++) {
    const [probability, keep] = [p[j] as number, kept[j] as number]
    if (probability === 0) continue
    const dP = dot(data.dout, outAt, data.v, vAt(j), headDimV) * keep
    const dS = probability * (dP - delta)
    const dProduct = softmaxScale * dS * (1 - (cappedRatios[j] as number) ** 2)
    add(sums.dq, qAt, data.k, kAt(j), headDim, dProduct)
    add(sums.dk, kAt(j), data.q, qAt, headDim, dProduct)
    add(sums.dv, vAt(j), data.dout, outAt, headDimV, probability * keep)
    const terms = probability * (Math.abs(dP) + deltaTerms)
    if (of.bias) {
      sums.dbias[biasAt(j)]! += dS
      sums.biasTerms[biasAt(j)]! += terms
    }
    if (of.alibi) {
      sums.dalibiSlopes[alibiAt]! -= dS * distance(j)
      sums.alibiTerms[alibiAt]! += terms * distance(j)
    }
  }
  if (of.sink) {
    const probability = Math.exp(sink - lse)
    sums.dsink[h]! -= probability * delta
    sums.sinkTerms[h]! += probability * deltaTerms
  }
}

/** Causality, window and block mask, as their docstrings say. */
function visible(of: AttentionCase, b: number, h: number, i: number, j: number, seqlenQ: number, seqlenK: number): boolean {
  const { causal = false, causalAlign = 'bottom-right', windowSize: [left, right] = [-1, -1] } = of.options
  const diagonal = i + seqlenK - seqlenQ
  if (causal && j > (causalAlign === 'top-left' ? i : diagonal)) return false
  if (left >= 0 && j < diagonal - left) return false
  if (right >= 0 && j > diagonal + right) return false
  return of.mask === undefined || maskSees(of.mask, b, h, i, j)
}

/** Index of the element of bias that pair (i, j) of head h of batch entry b gets. */
function biasIndex(bias: BiasCase, of: AttentionCase, b: number, h: number, i: number, j: number): number {
  const index: Record<string, number> = { B: b, H: h, Q: i, K: j, 1: 0 }
  return biasShape(bias, of).reduce((at, size, axis) => at * size + (index[bias.axes[axis] as string] as number), 0)
}

function dot(a: Elements, aAt: number, b: Elements, bAt: number, length: number): number {
  let sum = 0
  for (let d = 0; d < length; d++) sum += (a[aAt + d] as number) * (b[bAt + d] as number)
  return sum
}

/** to[at…] += factor·x[xAt…] */
function add(to: Float64Array, at: number, x: Elements, xAt: number, length: number, factor: number): void {
  for (let d = 0; d < length; d++) to[at + d] = (to[at + d] as number) + factor * (x[xAt + d] as number)
}

function largest(values: Float64Array): number {
  return values.reduce((a, b) => Math.max(a, b), 0)
}
