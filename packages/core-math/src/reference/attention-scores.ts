import type { AttentionProblem, BlockMask } from '@tilegrad/tensor'
import type { Head, Values } from './attention-head'
import { multiplyTransposed } from './products'
import type { FloatArray, Reference } from './reference'

/** The options of the scores that are tensors. */
export interface ScoreValues {
  readonly alibiSlopes?: Values
  readonly bias?: Values
}

/** Scores of one head, [seqlenQ, seqlenK]. */
export interface HeadScores {
  /** −∞ where hidden. */
  readonly scores: FloatArray
  /** With softcap: the scores as capped, before ALiBi and bias, on which the softcap's derivative depends. */
  readonly capped?: FloatArray
}

/** softmaxScale·(q·k) → softcap → − slope·|i + Sk − Sq − j| → + bias → mask, for q [seqlenQ, headDim] and k [seqlenK, headDim] of one head. */
export function headScores(
  ref: Reference,
  problem: AttentionProblem,
  head: Head,
  q: FloatArray,
  k: FloatArray,
  options: ScoreValues,
): HeadScores {
  const { round: r } = ref
  const { seqlenQ, seqlenK, b, h } = head
  const softmaxScale = r(problem.softmaxScale)
  const softcap = r(problem.softcap)
  const scores = ref.floats(seqlenQ * seqlenK)
  const capped = softcap > 0 ? ref.floats(seqlenQ * seqlenK) : undefined
  const { alibiSlopes, bias } = options
  const slope = alibiSlopes && (alibiSlopes.values[begin(alibiSlopes, b, h)] as number)
  const visible = visiblePairs(problem, head)
  multiplyTransposed(q, k, scores, seqlenQ, seqlenK, problem.headDim)
  for (let i = 0; i < seqlenQ; i++) {
    const biasRow = bias && begin(bias, b, h, i)
    for (let j = 0; j < seqlenK; j++) {
      const at = i * seqlenK + j
      let s = r(softmaxScale * (scores[at] as number))
      if (capped) {
        s = r(softcap * r(Math.tanh(r(s / softcap))))
        capped[at] = s
      }
      if (slope !== undefined) s = r(s - r(slope * distance(head, i, j)))
      if (bias) s = r(s + (bias.values[(biasRow as number) + j * (bias.strides[3] as number)] as number))
      scores[at] = visible[at] ? s : Number.NEGATIVE_INFINITY
    }
  }
  return { scores, ...(capped && { capped }) }
}

/** |i + seqlenK − seqlenQ − j|: how far key j is from where query i stands. */
export function distance({ seqlenQ, seqlenK }: Head, i: number, j: number): number {
  return Math.abs(i + seqlenK - seqlenQ - j)
}

/** Where the values of (b, h), or of (b, h, i), begin. */
export function begin({ strides }: Values, b: number, h: number, i = 0): number {
  return b * (strides[0] as number) + h * (strides[1] as number) + i * (strides[2] ?? 0)
}

/** [seqlenQ, seqlenK]: 1 where the query sees the key by band and block mask. */
function visiblePairs({ blockMask }: AttentionProblem, head: Head): Uint8Array {
  const { seqlenQ, seqlenK, diagonalMin, diagonalMax } = head
  const visible = new Uint8Array(seqlenQ * seqlenK)
  const allowed = blockMask && allowedPairs(blockMask, head)
  for (let i = 0; i < seqlenQ; i++) {
    for (let j = 0; j < seqlenK; j++) {
      const at = i * seqlenK + j
      visible[at] = j - i >= diagonalMin && j - i <= diagonalMax && allowed?.[at] !== 0 ? 1 : 0
    }
  }
  return visible
}

/** The block mask written out, [seqlenQ, seqlenK]. */
function allowedPairs(mask: BlockMask, { b, h, seqlenQ, seqlenK }: Head): Uint8Array {
  const { blockM, blockN, kvOffsets, kvBlocks, kvBits, bits } = mask
  const allowed = new Uint8Array(seqlenQ * seqlenK)
  const head = (mask.batchSize === 1 ? 0 : b) * mask.nHeads + (mask.nHeads === 1 ? 0 : h)
  for (let i = 0; i < seqlenQ; i++) {
    const row = head * Math.ceil(mask.seqlenQ / blockM) + Math.floor(i / blockM)
    for (let t = kvOffsets[row] as number; t < (kvOffsets[row + 1] as number); t++) {
      const keyBegin = (kvBlocks[t] as number) * blockN
      const words = ((kvBits[t] as number) * blockM + (i % blockM)) * (blockN / 32)
      for (let n = 0; n < blockN && keyBegin + n < seqlenK; n++) {
        const bit = kvBits[t] === -1 ? 1 : ((bits[words + (n >> 5)] as number) >>> (n & 31)) & 1
        allowed[i * seqlenK + keyBegin + n] = bit
      }
    }
  }
  return allowed
}
