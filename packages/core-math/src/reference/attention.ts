import {
  type AttentionOptions,
  type AttentionProblem,
  checkAttentionBackward,
  checkAttentionForward,
  type Kernels,
  sequenceOf,
  UnsupportedError,
} from '@tilegrad/tensor'
import { multiplyTransposed, transposed } from './products'
import type { FloatArray, Reference } from './reference'
import { softmaxRow } from './softmax'

type AttentionKernel = 'attentionForward' | 'attentionBackward' | 'attentionRows' | 'attentionColumnSums' | 'attentionTopK'

/**
 * Standard attention, head by head, with the whole score matrix of a head in memory: what the tiled algorithms must equal.
 *
 * Formulas, with S = softmaxScale·QKᵀ, capped, masked to −∞ and P = exp(S − lse):
 * O = PV; dV = PᵀdO, dP = dO·Vᵀ, delta = Σ dO∘O, dS = P∘(dP − delta)·(1 − (S/c)²), dQ = softmaxScale·dS·K, dK = softmaxScale·dSᵀ·Q.
 */
export function attentionKernels(ref: Reference): Pick<Kernels, AttentionKernel> {
  return {
    attentionForward(q, k, v, options) {
      const problem = checkAttentionForward(ref.backend, q, k, v, options)
      refuseOptions('attentionForward', options)
      const { batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, headDim, headDimV, outShape, lseShape, dtype } = problem
      const [queries, keys, values] = [ref.load(q), ref.load(k), ref.load(v)]
      const out = ref.floats(batchSize * seqlenQ * nHeads * headDimV)
      const lse = ref.floats(batchSize * nHeads * seqlenQ)
      const outHead = ref.floats(seqlenQ * headDimV)
      const p = ref.floats(seqlenQ * seqlenK)
      for (let b = 0; b < batchSize; b++) {
        for (let h = 0; h < nHeads; h++) {
          const hk = Math.floor((h * nHeadsK) / nHeads)
          const qHead = takeHead(ref, queries, b, seqlenQ, h, nHeads, headDim)
          const kHead = takeHead(ref, keys, b, seqlenK, hk, nHeadsK, headDim)
          const vHead = takeHead(ref, values, b, seqlenK, hk, nHeadsK, headDimV)
          maskedScores(ref, qHead, kHead, p, problem)
          for (let i = 0; i < seqlenQ; i++) {
            lse[(b * nHeads + h) * seqlenQ + i] = softmaxRow(ref, p.subarray(i * seqlenK, (i + 1) * seqlenK))
          }
          multiplyTransposed(p, transposed(vHead, seqlenK, headDimV), outHead, seqlenQ, headDimV, seqlenK)
          addHead(outHead, out, b, seqlenQ, h, nHeads, headDimV)
        }
      }
      return {
        out: ref.result(out, outShape, dtype),
        lse: ref.result(lse, lseShape, 'f32'),
      }
    },

    attentionBackward(dout, q, k, v, out, lse, options) {
      const problem = checkAttentionBackward(ref.backend, dout, q, k, v, out, lse, options)
      refuseOptions('attentionBackward', options)
      const { batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, headDim, headDimV } = problem
      const [queries, keys, values] = [ref.load(q), ref.load(k), ref.load(v)]
      const [douts, outs, lses] = [ref.load(dout), ref.load(out), ref.load(lse)]
      const dq = ref.floats(queries.length)
      const dk = ref.floats(keys.length)
      const dv = ref.floats(values.length)
      for (let b = 0; b < batchSize; b++) {
        for (let h = 0; h < nHeads; h++) {
          const hk = Math.floor((h * nHeadsK) / nHeads)
          const row = (b * nHeads + h) * seqlenQ
          const gradients = headBackward(ref, problem, {
            q: takeHead(ref, queries, b, seqlenQ, h, nHeads, headDim),
            k: takeHead(ref, keys, b, seqlenK, hk, nHeadsK, headDim),
            v: takeHead(ref, values, b, seqlenK, hk, nHeadsK, headDimV),
            dout: takeHead(ref, douts, b, seqlenQ, h, nHeads, headDimV),
            out: takeHead(ref, outs, b, seqlenQ, h, nHeads, headDimV),
            lse: lses.subarray(row, row + seqlenQ),
          })
          addHead(gradients.dq, dq, b, seqlenQ, h, nHeads, headDim)
          // The query heads of one group add up in the gradients of their key head.
          addHead(gradients.dk, dk, b, seqlenK, hk, nHeadsK, headDim)
          addHead(gradients.dv, dv, b, seqlenK, hk, nHeadsK, headDimV)
        }
      }
      return { dq: ref.result(dq, q.shape, q.dtype), dk: ref.result(dk, k.shape, k.dtype), dv: ref.result(dv, v.shape, v.dtype) }
    },

    attentionRows: (_q, { dtype }) => unsupported('attentionRows', dtype),
    attentionColumnSums: (_q, { dtype }) => unsupported('attentionColumnSums', dtype),
    attentionTopK: (_q, { dtype }) => unsupported('attentionTopK', dtype),
  }
}

function unsupported(kernel: string, what: string): never {
  throw new UnsupportedError('reference', kernel, what)
}

/** Options of the contract that the kernels do not have yet. */
function refuseOptions(kernel: string, options: AttentionOptions = {}): void {
  for (const name of ['alibiSlopes', 'bias', 'sink', 'dropoutP', 'cuSeqlensQ', 'blockMask'] as const) {
    if (options[name]) unsupported(kernel, name)
  }
}

interface HeadInputs {
  readonly q: FloatArray
  readonly k: FloatArray
  readonly v: FloatArray
  readonly dout: FloatArray
  readonly out: FloatArray
  readonly lse: FloatArray
}

/** dQ, dK and dV of one query head. */
function headBackward(ref: Reference, problem: AttentionProblem, head: HeadInputs) {
  const { round: r } = ref
  const { seqlenQ, seqlenK, headDim, headDimV, softmaxScale, softcap } = problem
  const p = ref.floats(seqlenQ * seqlenK)
  const ds = ref.floats(seqlenQ * seqlenK)
  maskedScores(ref, head.q, head.k, p, problem)
  multiplyTransposed(head.dout, head.v, ds, seqlenQ, seqlenK, headDimV)
  for (let i = 0; i < seqlenQ; i++) {
    const lse = head.lse[i] as number
    let delta = 0
    for (let d = i * headDimV; d < (i + 1) * headDimV; d++) {
      delta = r(delta + r((head.dout[d] as number) * (head.out[d] as number)))
    }
    for (let at = i * seqlenK; at < (i + 1) * seqlenK; at++) {
      const s = p[at] as number
      if (s === Number.NEGATIVE_INFINITY) {
        p[at] = 0
        ds[at] = 0
        continue
      }
      const probability = r(Math.exp(r(s - lse)))
      p[at] = probability
      const dCapped = r(probability * r((ds[at] as number) - delta))
      const ratio = softcap > 0 ? r(s / r(softcap)) : 0
      ds[at] = softcap > 0 ? dCapped * r(1 - r(ratio * ratio)) : dCapped
    }
  }
  const dq = ref.floats(head.q.length)
  const dk = ref.floats(head.k.length)
  const dv = ref.floats(head.v.length)
  const dsTransposed = transposed(ds, seqlenQ, seqlenK)
  multiplyTransposed(ds, transposed(head.k, seqlenK, headDim), dq, seqlenQ, headDim, seqlenK)
  multiplyTransposed(dsTransposed, transposed(head.q, seqlenQ, headDim), dk, seqlenK, headDim, seqlenQ)
  multiplyTransposed(transposed(p, seqlenQ, seqlenK), transposed(head.dout, seqlenQ, headDimV), dv, seqlenK, headDimV, seqlenQ)
  for (const gradient of [dq, dk]) {
    for (let i = 0; i < gradient.length; i++) gradient[i] = r(softmaxScale) * (gradient[i] as number)
  }
  return { dq, dk, dv }
}

/** Scaled, capped scores of one head into `s` [seqlenQ, seqlenK], −∞ where the key is not visible. */
function maskedScores(ref: Reference, q: FloatArray, k: FloatArray, s: FloatArray, problem: AttentionProblem): void {
  const { round: r } = ref
  const { seqlenQ, seqlenK, headDim, softmaxScale, softcap } = problem
  const { diagonalMin, diagonalMax } = sequenceOf(problem, 0)
  multiplyTransposed(q, k, s, seqlenQ, seqlenK, headDim)
  for (let i = 0; i < seqlenQ; i++) {
    for (let j = 0; j < seqlenK; j++) {
      const at = i * seqlenK + j
      const scaled = r(r(softmaxScale) * (s[at] as number))
      const capped = softcap > 0 ? r(softcap) * r(Math.tanh(r(scaled / r(softcap)))) : scaled
      s[at] = j - i >= diagonalMin && j - i <= diagonalMax ? capped : Number.NEGATIVE_INFINITY
    }
  }
}

/** Copy [seqlen, headDim] of one head of x [batchSize, seqlen, nHeads, headDim]. */
function takeHead(ref: Reference, x: FloatArray, batch: number, seqlen: number, head: number, nHeads: number, headDim: number): FloatArray {
  const result = ref.floats(seqlen * headDim)
  for (let i = 0; i < seqlen; i++) {
    const at = ((batch * seqlen + i) * nHeads + head) * headDim
    result.set(x.subarray(at, at + headDim), i * headDim)
  }
  return result
}

/** Adds [seqlen, headDim] to one head of x [batchSize, seqlen, nHeads, headDim]. */
function addHead(from: FloatArray, x: FloatArray, batch: number, seqlen: number, head: number, nHeads: number, headDim: number): void {
  for (let i = 0; i < seqlen; i++) {
    const at = ((batch * seqlen + i) * nHeads + head) * headDim
    for (let d = 0; d < headDim; d++) x[at + d] = (x[at + d] as number) + (from[i * headDim + d] as number)
  }
}
