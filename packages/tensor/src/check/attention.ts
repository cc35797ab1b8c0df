import type { AttentionOptions } from '../attention'
import type { Backend } from '../backend'
import type { DType } from '../dtype'
import { ArgumentError } from '../errors/argument-error'
import { ShapeError } from '../errors/shape-error'
import { formatShape } from '../shape'
import type { Tensor } from '../tensor'
import {
  checkBoolean,
  checkChoice,
  checkDType,
  checkFinite,
  checkFloat,
  checkLastAxis,
  checkOptions,
  checkShape,
  checkTensors,
} from './common'

/** Largest head dim, of queries and of values, that every backend takes. */
const MAX_HEAD_DIM = 256

/** What attention computes, sizes and options together. Key j is visible to query i iff diagonalMin ≤ j − i ≤ diagonalMax. */
export interface AttentionProblem {
  readonly batchSize: number
  readonly seqlenQ: number
  readonly seqlenK: number
  readonly nHeads: number
  /** A divisor of nHeads. Query head h reads key head ⌊h·nHeadsK/nHeads⌋. */
  readonly nHeadsK: number
  readonly headDim: number
  readonly headDimV: number
  readonly softmaxScale: number
  /** 0 = off. */
  readonly softcap: number
  /** −∞ = unlimited. */
  readonly diagonalMin: number
  /** +∞ = unlimited. */
  readonly diagonalMax: number
  readonly dtype: DType
  /** [batchSize, seqlenQ, nHeads, headDimV] */
  readonly outShape: readonly number[]
  /** [batchSize, nHeads, seqlenQ] */
  readonly lseShape: readonly number[]
}

export function checkAttentionForward(backend: Backend, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): AttentionProblem {
  const fn = 'attentionForward'
  checkTensors(fn, backend, { q, k, v })
  return problem(fn, q, k, v, options)
}

export function checkAttentionBackward(
  backend: Backend,
  dout: Tensor,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  out: Tensor,
  lse: Tensor,
  options: AttentionOptions = {},
): AttentionProblem {
  const fn = 'attentionBackward'
  checkTensors(fn, backend, { dout, q, k, v, out, lse })
  const result = problem(fn, q, k, v, options)
  checkDType(fn, 'dout', dout, q.dtype)
  checkDType(fn, 'out', out, q.dtype)
  checkDType(fn, 'lse', lse, 'f32')
  checkShape(fn, 'dout', dout, result.outShape)
  checkShape(fn, 'out', out, result.outShape)
  checkShape(fn, 'lse', lse, result.lseShape)
  checkLastAxis(fn, { dout, out, lse })
  return result
}

function problem(fn: string, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): AttentionProblem {
  checkFloat(fn, 'q', q)
  checkDType(fn, 'k', k, q.dtype)
  checkDType(fn, 'v', v, q.dtype)
  checkShape(fn, 'q', q, ['B', 'Sq', 'Hq', 'D'])
  const [batchSize, seqlenQ, nHeads, headDim] = q.shape as [number, number, number, number]
  checkShape(fn, 'k', k, [batchSize, 'Sk', 'Hk', headDim])
  const [, seqlenK, nHeadsK] = k.shape as [number, number, number]
  checkShape(fn, 'v', v, [batchSize, seqlenK, nHeadsK, 'Dv'])
  const headDimV = v.shape[3] as number
  if (nHeads < 1 || nHeadsK < 1 || nHeads % nHeadsK !== 0) {
    throw new ShapeError(fn, 'the heads of q must be a positive multiple of the heads of k and v', `${nHeads} and ${nHeadsK}`)
  }
  checkHeadDim(fn, 'q', q)
  checkHeadDim(fn, 'v', v)
  checkLastAxis(fn, { q, k, v })
  return {
    batchSize,
    seqlenQ,
    seqlenK,
    nHeads,
    nHeadsK,
    headDim,
    headDimV,
    ...checkScores(fn, options, headDim, seqlenK - seqlenQ),
    dtype: q.dtype,
    outShape: [batchSize, seqlenQ, nHeads, headDimV],
    lseShape: [batchSize, nHeads, seqlenQ],
  }
}

function checkHeadDim(fn: string, name: string, { shape }: Tensor): void {
  const headDim = shape[3] as number
  if (headDim < 1 || headDim > MAX_HEAD_DIM) {
    throw new ShapeError(fn, `the head dim of ${name} must be in 1..${MAX_HEAD_DIM}`, `${headDim} in ${formatShape(shape)}`)
  }
}

type Scores = Pick<AttentionProblem, 'softmaxScale' | 'softcap' | 'diagonalMin' | 'diagonalMax'>

/** Checks the options and folds causal, causalAlign and windowSize into one band. `shift` is seqlenK − seqlenQ. */
function checkScores(fn: string, options: AttentionOptions, headDim: number, shift: number): Scores {
  checkOptions(fn, options, ['softmaxScale', 'softcap', 'causal', 'causalAlign', 'windowSize'])
  const { softmaxScale = 1 / Math.sqrt(headDim), softcap, causal = false, causalAlign = 'bottom-right', windowSize = [-1, -1] } = options
  checkFinite(fn, 'softmaxScale', softmaxScale)
  if (softcap !== undefined && !(Number.isFinite(softcap) && softcap > 0)) {
    throw new ArgumentError(fn, 'softcap must be a finite number > 0', String(softcap))
  }
  checkBoolean(fn, 'causal', causal)
  checkChoice(fn, 'causalAlign', causalAlign, ['bottom-right', 'top-left'])
  checkWindow(fn, windowSize)
  const [left, right] = windowSize
  const causalMax = causal ? (causalAlign === 'top-left' ? 0 : shift) : Number.POSITIVE_INFINITY
  return {
    softmaxScale,
    softcap: softcap ?? 0,
    diagonalMin: left < 0 ? Number.NEGATIVE_INFINITY : shift - left,
    diagonalMax: Math.min(causalMax, right < 0 ? Number.POSITIVE_INFINITY : shift + right),
  }
}

function checkWindow(fn: string, windowSize: readonly number[]): void {
  const fits = Array.isArray(windowSize) && windowSize.length === 2 && windowSize.every((side) => Number.isSafeInteger(side) && side >= -1)
  if (!fits) {
    const got = Array.isArray(windowSize) ? formatShape(windowSize) : String(windowSize)
    throw new ArgumentError(fn, 'windowSize must be [left, right], two integers ≥ −1', got)
  }
}
