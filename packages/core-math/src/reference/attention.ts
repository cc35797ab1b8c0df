import { type AttentionProblem, checkAttentionBackward, checkAttentionForward, type Kernels } from '@tilegrad/tensor'
import { attentionRandomRow } from '../philox'
import { addHead, type Head, headsOf, takeHead, type Values, valuesOf } from './attention-head'
import { begin, distance, headScores, type ScoreValues } from './attention-scores'
import { multiplyTransposed, transposed } from './products'
import type { FloatArray, Reference } from './reference'
import { softmaxRow } from './softmax'

/**
 * Standard attention, head by head, with the whole score matrix of a head in memory: what the tiled algorithms must equal.
 *
 * Formulas, with S = softmaxScale·QKᵀ, capped to C, − slope·distance, + bias, masked to −∞; lse = ln(Σ exp(S) + exp(sink)); P = exp(S − lse); and
 * dropout's Z, 0 where dropped and 1/(1 − dropoutP) where kept:
 * O = (P∘Z)V; dV = (P∘Z)ᵀdO, dP = Z∘(dO·Vᵀ), delta = Σ dO∘O, dS = P∘(dP − delta); dbias = dS, dslope = −Σ distance∘dS,
 * dsink = −Σ exp(sink − lse)·delta; dC = dS∘(1 − (C/c)²), dQ = softmaxScale·dC·K, dK = softmaxScale·dCᵀ·Q.
 */
export function attentionKernels(ref: Reference): Pick<Kernels, 'attentionForward' | 'attentionBackward'> {
  return {
    attentionForward(q, k, v, options) {
      const problem = checkAttentionForward(ref.backend, q, k, v, options)
      const { nHeads, nHeadsK, headDim, headDimV, totalQ, outShape, lseShape, dtype } = problem
      const [queries, keys, values] = [ref.load(q), ref.load(k), ref.load(v)]
      const scoreValues = scoreValuesOf(ref, problem)
      const sinks = problem.sink && ref.load(problem.sink)
      const out = ref.floats(totalQ * nHeads * headDimV)
      const lse = ref.floats(nHeads * totalQ)
      for (const head of headsOf(problem)) {
        const { beginQ, seqlenQ, beginK, seqlenK, h, hk, lseBegin } = head
        const qHead = takeHead(ref, queries, beginQ, seqlenQ, h, nHeads, headDim)
        const kHead = takeHead(ref, keys, beginK, seqlenK, hk, nHeadsK, headDim)
        const vHead = takeHead(ref, values, beginK, seqlenK, hk, nHeadsK, headDimV)
        const { scores: p } = headScores(ref, problem, head, qHead, kHead, scoreValues)
        for (let i = 0; i < seqlenQ; i++) {
          const row = p.subarray(i * seqlenK, (i + 1) * seqlenK)
          lse[lseBegin + i] = softmaxRow(ref, row, sinks?.[h])
          dropOut(ref, problem, head, i, row)
        }
        const outHead = ref.floats(seqlenQ * headDimV)
        multiplyTransposed(p, transposed(vHead, seqlenK, headDimV), outHead, seqlenQ, headDimV, seqlenK)
        addHead(outHead, out, beginQ, seqlenQ, h, nHeads, headDimV)
      }
      return { out: ref.result(out, outShape, dtype), lse: ref.result(lse, lseShape, 'f32') }
    },

    attentionBackward(dout, q, k, v, out, lse, options) {
      const problem = checkAttentionBackward(ref.backend, dout, q, k, v, out, lse, options)
      const { nHeads, nHeadsK, headDim, headDimV, optionGradients } = problem
      const [queries, keys, values] = [ref.load(q), ref.load(k), ref.load(v)]
      const [douts, outs, lses] = [ref.load(dout), ref.load(out), ref.load(lse)]
      const [dq, dk, dv] = [ref.floats(queries.length), ref.floats(keys.length), ref.floats(values.length)]
      const scoreValues = scoreValuesOf(ref, problem)
      const sinks = problem.sink && ref.load(problem.sink)
      const gradients = {
        ...(scoreValues.alibiSlopes && { alibiSlopes: zerosLike(ref, scoreValues.alibiSlopes) }),
        ...(scoreValues.bias && { bias: zerosLike(ref, scoreValues.bias) }),
        ...(sinks && { sink: { values: ref.floats(sinks.length), strides: [] } }),
      }
      for (const head of headsOf(problem)) {
        const { beginQ, seqlenQ, beginK, seqlenK, h, hk, lseBegin } = head
        const inputs: HeadInputs = {
          q: takeHead(ref, queries, beginQ, seqlenQ, h, nHeads, headDim),
          k: takeHead(ref, keys, beginK, seqlenK, hk, nHeadsK, headDim),
          v: takeHead(ref, values, beginK, seqlenK, hk, nHeadsK, headDimV),
          dout: takeHead(ref, douts, beginQ, seqlenQ, h, nHeads, headDimV),
          out: takeHead(ref, outs, beginQ, seqlenQ, h, nHeads, headDimV),
          lse: lses.subarray(lseBegin, lseBegin + seqlenQ),
          sink: sinks?.[h] ?? Number.NEGATIVE_INFINITY,
        }
        const ofHead = headBackward(ref, problem, head, inputs, scoreValues, gradients)
        addHead(ofHead.dq, dq, beginQ, seqlenQ, h, nHeads, headDim)
        // The query heads of one group add up in the gradients of their key head.
        addHead(ofHead.dk, dk, beginK, seqlenK, hk, nHeadsK, headDim)
        addHead(ofHead.dv, dv, beginK, seqlenK, hk, nHeadsK, headDimV)
      }
      return {
        dq: ref.result(dq, q.shape, q.dtype),
        dk: ref.result(dk, k.shape, k.dtype),
        dv: ref.result(dv, v.shape, v.dtype),
        ...Object.fromEntries(
          optionGradients.map((name) => {
            const values = gradients[name]?.values as FloatArray
            return [`d${name}`, ref.result(values, options?.[name]?.shape ?? [], 'f32')]
          }),
        ),
      }
    },
  }
}

export function scoreValuesOf(ref: Reference, { alibiSlopes, bias }: AttentionProblem): ScoreValues {
  return { ...(alibiSlopes && { alibiSlopes: valuesOf(ref, alibiSlopes) }), ...(bias && { bias: valuesOf(ref, bias) }) }
}

function zerosLike(ref: Reference, { values, strides }: Values): Values {
  return { values: ref.floats(values.length), strides }
}

interface HeadInputs {
  readonly q: FloatArray
  readonly k: FloatArray
  readonly v: FloatArray
  readonly dout: FloatArray
  readonly out: FloatArray
  readonly lse: FloatArray
  readonly sink: number
}

/** Gradients of the options that are tensors, to which each head adds its own. */
type OptionGradients = ScoreValues & { readonly sink?: Values }

/** dQ, dK and dV of one query head; those of the options are added to `gradients`. */
function headBackward(
  ref: Reference,
  problem: AttentionProblem,
  head: Head,
  inputs: HeadInputs,
  scoreValues: ScoreValues,
  gradients: OptionGradients,
) {
  const { round: r } = ref
  const { seqlenQ, seqlenK } = head
  const { headDim, headDimV, softmaxScale } = problem
  const { scores: p, capped } = headScores(ref, problem, head, inputs.q, inputs.k, scoreValues)
  const ds = ref.floats(seqlenQ * seqlenK)
  multiplyTransposed(inputs.dout, inputs.v, ds, seqlenQ, seqlenK, headDimV)
  for (let i = 0; i < seqlenQ; i++) {
    const [begin, end] = [i * seqlenK, (i + 1) * seqlenK]
    const delta = rowDelta(ref, inputs, i, headDimV)
    addSinkGradient(ref, gradients.sink, head, inputs.sink, inputs.lse[i] as number, delta)
    const row = ds.subarray(begin, end)
    dropOut(ref, problem, head, i, row)
    for (let j = 0; j < seqlenK; j++) {
      const at = begin + j
      const s = p[at] as number
      const hidden = s === Number.NEGATIVE_INFINITY
      p[at] = hidden ? 0 : r(Math.exp(r(s - (inputs.lse[i] as number))))
      row[j] = hidden ? 0 : r((p[at] as number) * r((row[j] as number) - delta))
    }
    addScoreGradients(ref, gradients, head, i, row)
    if (capped) throughSoftcap(ref, problem.softcap, capped.subarray(begin, end), row)
    dropOut(ref, problem, head, i, p.subarray(begin, end))
  }
  const [dq, dk, dv] = [ref.floats(inputs.q.length), ref.floats(inputs.k.length), ref.floats(inputs.v.length)]
  multiplyTransposed(ds, transposed(inputs.k, seqlenK, headDim), dq, seqlenQ, headDim, seqlenK)
  multiplyTransposed(transposed(ds, seqlenQ, seqlenK), transposed(inputs.q, seqlenQ, headDim), dk, seqlenK, headDim, seqlenQ)
  multiplyTransposed(transposed(p, seqlenQ, seqlenK), transposed(inputs.dout, seqlenQ, headDimV), dv, seqlenK, headDimV, seqlenQ)
  for (const gradient of [dq, dk]) {
    for (let i = 0; i < gradient.length; i++) gradient[i] = r(softmaxScale) * (gradient[i] as number)
  }
  return { dq, dk, dv }
}

/** Drops elements of row i of a head, [seqlenK], in place, and divides those that stay by 1 − dropoutP. */
function dropOut(ref: Reference, problem: AttentionProblem, { b, h, seqlenK }: Head, i: number, row: FloatArray): void {
  const { dropoutP, dropoutThreshold, seed, nHeads } = problem
  if (dropoutP === 0) return
  const words = attentionRandomRow(seed, b * nHeads + h, i, 0, seqlenK)
  const kept = ref.round(1 - dropoutP)
  for (let j = 0; j < seqlenK; j++) row[j] = (words[j] as number) >= dropoutThreshold ? (row[j] as number) / kept : 0
}

/** Σ dout∘out of row i. */
function rowDelta({ round: r }: Reference, { dout, out }: HeadInputs, i: number, headDimV: number): number {
  let delta = 0
  for (let d = i * headDimV; d < (i + 1) * headDimV; d++) delta = r(delta + r((dout[d] as number) * (out[d] as number)))
  return delta
}

/** The sink is a score without a value: its dP is 0. */
function addSinkGradient({ round: r }: Reference, dsink: Values | undefined, { h }: Head, sink: number, lse: number, delta: number): void {
  if (!dsink || sink === Number.NEGATIVE_INFINITY) return
  dsink.values[h] = (dsink.values[h] as number) - r(r(Math.exp(r(sink - lse))) * delta)
}

/** dbias += dS and dslope −= distance·dS, for row i. */
function addScoreGradients({ round: r }: Reference, { bias, alibiSlopes }: OptionGradients, head: Head, i: number, ds: FloatArray): void {
  const { b, h, seqlenK } = head
  const slope = alibiSlopes && begin(alibiSlopes, b, h)
  const row = bias && begin(bias, b, h, i)
  for (let j = 0; j < seqlenK; j++) {
    const g = ds[j] as number
    if (bias) {
      const at = (row as number) + j * (bias.strides[3] as number)
      bias.values[at] = (bias.values[at] as number) + g
    }
    if (alibiSlopes) {
      const at = slope as number
      alibiSlopes.values[at] = (alibiSlopes.values[at] as number) - r(distance(head, i, j) * g)
    }
  }
}

/** d/dx c·tanh(x/c) = 1 − (c·tanh(x/c)/c)². */
function throughSoftcap({ round: r }: Reference, softcap: number, capped: FloatArray, ds: FloatArray): void {
  for (let j = 0; j < ds.length; j++) {
    const ratio = r((capped[j] as number) / r(softcap))
    ds[j] = (ds[j] as number) * r(1 - r(ratio * ratio))
  }
}
