import type { AttentionBackwardOptions, AttentionForwardOptions, AttentionOptions, LearnableAttentionOption } from '../attention'
import type { Backend } from '../backend'
import type { BlockMask } from '../block-mask'
import type { DType } from '../dtype'
import { ArgumentError } from '../errors/argument-error'
import { ShapeError } from '../errors/shape-error'
import { formatShape } from '../shape'
import type { Tensor } from '../tensor'
import { type Broadcast, SCORE_OPTIONS, scoreProblem } from './attention-scores'
import { checkBlockMask } from './block-mask'
import { checkBoolean, checkDType, checkFloat, checkLastAxis, checkOptions, checkShape, checkTarget, checkTensors } from './common'
import { checkCuSeqlens, longest } from './sequences'

/** Largest head dim, of queries and of values, that every backend takes. */
const MAX_HEAD_DIM = 256

/** Keys up to which attentionForward may return probabilities: 4·MAX_SAVED_KEYS bytes for each row of each head are the most. */
export const MAX_SAVED_KEYS = 256

/** What attention computes, sizes and options together. `sequenceOf(problem, b)` gives rows, lengths and band of one sequence. */
export interface AttentionProblem {
  /** With cuSeqlens the number of sequences. */
  readonly batchSize: number
  /** With cuSeqlens that of the longest sequence. */
  readonly seqlenQ: number
  readonly seqlenK: number
  /** Query rows of the whole batch. */
  readonly totalQ: number
  readonly totalK: number
  readonly nHeads: number
  /** A divisor of nHeads. Query head h reads key head ⌊h·nHeadsK/nHeads⌋. */
  readonly nHeadsK: number
  readonly headDim: number
  readonly headDimV: number
  readonly softmaxScale: number
  /** 0 = off. */
  readonly softcap: number
  /** Key j is in the window iff −windowLeft ≤ j − (i + seqlenK − seqlenQ) ≤ windowRight; bottom-right causality is windowRight ≤ 0. +∞ = unlimited. */
  readonly windowLeft: number
  readonly windowRight: number
  /** And j ≤ i. */
  readonly causalTopLeft: boolean
  /** Strides of [B, Hq]. */
  readonly alibiSlopes?: Broadcast
  /** Strides of [B, Hq, Sq, Sk]. */
  readonly bias?: Broadcast
  readonly sink?: Tensor
  readonly dropoutP: number
  /** ⌊dropoutP·2^32⌋: a probability is kept iff its random word is at least this. */
  readonly dropoutThreshold: number
  /** 0 without dropout. */
  readonly seed: number
  readonly cuSeqlensQ?: Int32Array
  readonly cuSeqlensK?: Int32Array
  readonly blockMask?: BlockMask
  readonly dtype: DType
  /** [B, Sq, Hq, Dv], with cuSeqlens [totalQ, Hq, Dv]. */
  readonly outShape: readonly number[]
  /** [B, Hq, Sq], with cuSeqlens [Hq, totalQ]. */
  readonly lseShape: readonly number[]
}

export interface AttentionForwardProblem extends AttentionProblem {
  /** Whether a backend may return probabilities: it was asked to, and they are no more than MAX_SAVED_KEYS per row. */
  readonly saveProbabilities: boolean
}

export interface AttentionBackwardProblem extends AttentionProblem {
  /** Those of the given alibiSlopes, bias and sink whose gradient is wanted. */
  readonly optionGradients: readonly LearnableAttentionOption[]
  /** [B, Hq, Sq, Sk], contiguous. */
  readonly probabilities?: Tensor
}

export function checkAttentionForward(
  backend: Backend,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionForwardOptions = {},
): AttentionForwardProblem {
  const fn = 'attentionForward'
  checkTensors(fn, backend, { q, k, v })
  checkOptions(fn, options, FORWARD_OPTIONS)
  const { saveProbabilities = false } = options
  checkBoolean(fn, 'saveProbabilities', saveProbabilities)
  const problem = attentionProblem(fn, backend, q, k, v, options) as AttentionProblem & { saveProbabilities: boolean }
  problem.saveProbabilities = saveProbabilities && problem.seqlenK <= MAX_SAVED_KEYS && !problem.cuSeqlensK
  return problem
}

export function checkAttentionBackward(
  backend: Backend,
  dout: Tensor,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  out: Tensor,
  lse: Tensor,
  options: AttentionBackwardOptions = {},
): AttentionBackwardProblem {
  const fn = 'attentionBackward'
  checkTensors(fn, backend, { dout, q, k, v, out, lse })
  checkOptions(fn, options, BACKWARD_OPTIONS)
  const problem = attentionProblem(fn, backend, q, k, v, options) as AttentionProblem & {
    optionGradients: LearnableAttentionOption[]
    probabilities?: Tensor
  }
  checkDType(fn, 'dout', dout, q.dtype)
  checkDType(fn, 'out', out, q.dtype)
  checkDType(fn, 'lse', lse, 'f32')
  checkShape(fn, 'dout', dout, problem.outShape)
  checkShape(fn, 'out', out, problem.outShape)
  checkShape(fn, 'lse', lse, problem.lseShape)
  checkLastAxis(fn, { dout, out, lse })
  problem.optionGradients = optionGradients(fn, options)
  if (options.probabilities !== undefined) problem.probabilities = savedProbabilities(fn, backend, options.probabilities, problem)
  return problem
}

function savedProbabilities(fn: string, backend: Backend, probabilities: Tensor, problem: AttentionProblem): Tensor {
  const { batchSize, nHeads, seqlenQ, seqlenK, cuSeqlensQ } = problem
  if (cuSeqlensQ) throw new ArgumentError(fn, 'probabilities must be left out with cuSeqlensQ', formatShape(probabilities.shape))
  checkTarget(fn, 'probabilities', probabilities, backend, [batchSize, nHeads, seqlenQ, seqlenK], 'f32')
  return probabilities
}

export const ATTENTION_OPTIONS: readonly string[] = [...SCORE_OPTIONS, 'cuSeqlensQ', 'cuSeqlensK', 'blockMask']
const FORWARD_OPTIONS: readonly string[] = [...ATTENTION_OPTIONS, 'saveProbabilities']
const BACKWARD_OPTIONS: readonly string[] = [...ATTENTION_OPTIONS, 'optionGradients', 'probabilities']

function optionGradients(fn: string, options: AttentionBackwardOptions): LearnableAttentionOption[] {
  const given = (['alibiSlopes', 'bias', 'sink'] as const).filter((name) => options[name] !== undefined)
  const wanted = options.optionGradients
  if (wanted === undefined) return given
  const missing = Array.isArray(wanted) ? wanted.find((name) => !given.includes(name)) : String(wanted)
  if (missing !== undefined) {
    throw new ArgumentError(fn, `optionGradients must be among the learnable options given (${given.join(', ') || 'none'})`, `'${missing}'`)
  }
  return given.filter((name) => wanted.includes(name))
}

/** Checks q, k, v and options; tensors and the names of options are known to be sound. */
export function attentionProblem(
  fn: string,
  backend: Backend,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
): AttentionProblem {
  checkFloat(fn, 'q', q)
  checkDType(fn, 'k', k, q.dtype)
  checkDType(fn, 'v', v, q.dtype)
  const sizes =
    options.cuSeqlensQ === undefined && options.cuSeqlensK === undefined ? batchSizes(fn, q, k, v) : packedSizes(fn, q, k, v, options)
  const { nHeads, nHeadsK } = sizes
  if (nHeads < 1 || nHeadsK < 1 || nHeads % nHeadsK !== 0) {
    throw new ShapeError(fn, 'the heads of q must be a positive multiple of the heads of k and v', `${nHeads} and ${nHeadsK}`)
  }
  checkHeadDim(fn, 'q', q)
  checkHeadDim(fn, 'v', v)
  checkLastAxis(fn, { q, k, v })
  if (options.blockMask !== undefined) checkMaskSizes(fn, options.blockMask, sizes, options.cuSeqlensQ !== undefined)
  const scores = scoreProblem(fn, backend, options, sizes)
  // One literal: an object spread together from several has no fixed layout, and to make and read it took most of a call's time.
  const problem: { -readonly [name in keyof AttentionProblem]: AttentionProblem[name] } = {
    batchSize: sizes.batchSize,
    seqlenQ: sizes.seqlenQ,
    seqlenK: sizes.seqlenK,
    totalQ: sizes.totalQ,
    totalK: sizes.totalK,
    nHeads,
    nHeadsK,
    headDim: sizes.headDim,
    headDimV: sizes.headDimV,
    softmaxScale: scores.softmaxScale,
    softcap: scores.softcap,
    windowLeft: scores.windowLeft,
    windowRight: scores.windowRight,
    causalTopLeft: scores.causalTopLeft,
    dropoutP: scores.dropoutP,
    dropoutThreshold: scores.dropoutThreshold,
    seed: scores.seed,
    dtype: q.dtype,
    outShape: sizes.outShape,
    lseShape: sizes.lseShape,
  }
  if (scores.alibiSlopes) problem.alibiSlopes = scores.alibiSlopes
  if (scores.bias) problem.bias = scores.bias
  if (scores.sink) problem.sink = scores.sink
  if (sizes.cuSeqlensQ) problem.cuSeqlensQ = sizes.cuSeqlensQ
  if (sizes.cuSeqlensK) problem.cuSeqlensK = sizes.cuSeqlensK
  if (options.blockMask) problem.blockMask = options.blockMask
  return problem
}

type Sizes = Pick<
  AttentionProblem,
  | 'batchSize'
  | 'seqlenQ'
  | 'seqlenK'
  | 'totalQ'
  | 'totalK'
  | 'nHeads'
  | 'nHeadsK'
  | 'headDim'
  | 'headDimV'
  | 'cuSeqlensQ'
  | 'cuSeqlensK'
  | 'outShape'
  | 'lseShape'
>

/** q [B, Sq, Hq, D], k [B, Sk, Hk, D], v [B, Sk, Hk, Dv]. */
function batchSizes(fn: string, q: Tensor, k: Tensor, v: Tensor): Sizes {
  checkShape(fn, 'q', q, ['B', 'Sq', 'Hq', 'D'])
  const [batchSize, seqlenQ, nHeads, headDim] = q.shape as [number, number, number, number]
  checkShape(fn, 'k', k, [batchSize, 'Sk', 'Hk', headDim])
  const [, seqlenK, nHeadsK] = k.shape as [number, number, number]
  checkShape(fn, 'v', v, [batchSize, seqlenK, nHeadsK, 'Dv'])
  const headDimV = v.shape[3] as number
  return {
    batchSize,
    seqlenQ,
    seqlenK,
    totalQ: batchSize * seqlenQ,
    totalK: batchSize * seqlenK,
    nHeads,
    nHeadsK,
    headDim,
    headDimV,
    outShape: [batchSize, seqlenQ, nHeads, headDimV],
    lseShape: [batchSize, nHeads, seqlenQ],
  }
}

/** q [totalQ, Hq, D], k [totalK, Hk, D], v [totalK, Hk, Dv]. */
function packedSizes(fn: string, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Sizes {
  checkShape(fn, 'q', q, ['totalQ', 'Hq', 'D'])
  const [totalQ, nHeads, headDim] = q.shape as [number, number, number]
  checkShape(fn, 'k', k, ['totalK', 'Hk', headDim])
  const [totalK, nHeadsK] = k.shape as [number, number]
  checkShape(fn, 'v', v, [totalK, nHeadsK, 'Dv'])
  const headDimV = v.shape[2] as number
  checkCuSeqlens(fn, options, totalQ, totalK)
  // A copy: what the caller does to its arrays after the call must not reach work that is still to run.
  const cuSeqlensQ = (options.cuSeqlensQ as Int32Array).slice()
  const cuSeqlensK = (options.cuSeqlensK as Int32Array).slice()
  return {
    batchSize: cuSeqlensQ.length - 1,
    seqlenQ: longest(cuSeqlensQ),
    seqlenK: longest(cuSeqlensK),
    totalQ,
    totalK,
    nHeads,
    nHeadsK,
    headDim,
    headDimV,
    cuSeqlensQ,
    cuSeqlensK,
    outShape: [totalQ, nHeads, headDimV],
    lseShape: [nHeads, totalQ],
  }
}

function checkHeadDim(fn: string, name: string, { shape }: Tensor): void {
  const headDim = shape.at(-1) as number
  if (headDim < 1 || headDim > MAX_HEAD_DIM) {
    throw new ShapeError(fn, `the head dim of ${name} must be in 1..${MAX_HEAD_DIM}`, `${headDim} in ${formatShape(shape)}`)
  }
}

function checkMaskSizes(fn: string, mask: BlockMask, { batchSize, nHeads, seqlenQ, seqlenK }: Sizes, packed: boolean): void {
  checkBlockMask(fn, mask)
  const fits = (given: number, size: number) => (packed ? given >= size : given === size)
  const sound =
    (mask.batchSize === 1 || mask.batchSize === batchSize) &&
    (mask.nHeads === 1 || mask.nHeads === nHeads) &&
    fits(mask.seqlenQ, seqlenQ) &&
    fits(mask.seqlenK, seqlenK)
  if (!sound) {
    const expected = `[${batchSize} or 1, ${nHeads} or 1, ${packed ? '≥ ' : ''}${seqlenQ}, ${packed ? '≥ ' : ''}${seqlenK}]`
    throw new ShapeError(fn, `blockMask must cover ${expected}`, formatShape([mask.batchSize, mask.nHeads, mask.seqlenQ, mask.seqlenK]))
  }
}
