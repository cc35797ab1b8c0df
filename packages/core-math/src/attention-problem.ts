import { type AttentionProblem, type Sequence, sequenceOf } from '@tilegrad/tensor'
import { HeadMask } from './head-mask'
import { Schedule, TileSchedule, type TileSizes } from './schedule'

/** A matrix as an array of its rows. */
export type Rows = readonly Float64Array[]

/** A bias of the scores of one head, or its gradient: element begin + i·strideQ + j·strideK belongs to query i and key j. */
export interface ScoreBias {
  readonly values: Float64Array
  readonly begin: number
  readonly strideQ: number
  readonly strideK: number
}

/** What one query head of one sequence needs to know. */
export interface HeadProblem
  extends Pick<AttentionProblem, 'headDim' | 'headDimV' | 'softmaxScale' | 'softcap' | 'dropoutP' | 'dropoutThreshold' | 'seed'>,
    Pick<Sequence, 'seqlenQ' | 'seqlenK' | 'diagonalMin' | 'diagonalMax'> {
  /** b·nHeads + h, by which dropout knows the head. */
  readonly batchHead: number
  /** 0 = off. */
  readonly alibiSlope: number
  readonly bias?: ScoreBias
  /** −∞ = off. */
  readonly sink: number
  readonly mask?: HeadMask
}

/** Elements of the options that are tensors, where their tensors' strides find them. */
export interface OptionValues {
  readonly alibiSlopes?: Float64Array
  readonly bias?: Float64Array
  readonly sink?: Float64Array
}

/** Query head h of sequence b of a problem. */
export function headProblem(problem: AttentionProblem, b: number, h: number, values: OptionValues = {}): HeadProblem {
  const { headDim, headDimV, softmaxScale, softcap, dropoutP, dropoutThreshold, seed, nHeads, alibiSlopes, bias, blockMask } = problem
  const { seqlenQ, seqlenK, diagonalMin, diagonalMax } = sequenceOf(problem, b)
  const at = (strides: readonly number[]) => b * (strides[0] as number) + h * (strides[1] as number)
  return {
    ...{ headDim, headDimV, softmaxScale, softcap, dropoutP, dropoutThreshold, seed },
    ...{ seqlenQ, seqlenK, diagonalMin, diagonalMax },
    batchHead: b * nHeads + h,
    alibiSlope: alibiSlopes && values.alibiSlopes ? (values.alibiSlopes[at(alibiSlopes.strides)] as number) : 0,
    ...(bias &&
      values.bias && {
        bias: {
          values: values.bias,
          begin: at(bias.strides),
          strideQ: bias.strides[2] as number,
          strideK: bias.strides[3] as number,
        },
      }),
    sink: values.sink?.[h] ?? Number.NEGATIVE_INFINITY,
    ...(blockMask && { mask: new HeadMask(blockMask, b, h) }),
  }
}

/** What decides which pairs are visible. */
export type Visibility = Pick<HeadProblem, 'seqlenQ' | 'seqlenK' | 'diagonalMin' | 'diagonalMax' | 'mask'>

/** Which tiles the head visits. */
export function tileSchedule({ seqlenQ, seqlenK, diagonalMin, diagonalMax, mask }: Visibility, tiles: TileSizes): TileSchedule {
  return new TileSchedule(new Schedule(seqlenQ, seqlenK, diagonalMin, diagonalMax, mask), tiles)
}

export function zeroRows(rows: number, columns: number): Float64Array[] {
  return Array.from({ length: rows }, () => new Float64Array(columns))
}

/** Σ a·b. */
export function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, x, d) => sum + x * (b[d] as number), 0)
}

/** y += factor·x. */
export function addScaled(y: Float64Array, x: Float64Array, factor: number): void {
  for (let d = 0; d < y.length; d++) y[d] = (y[d] as number) + factor * (x[d] as number)
}

/** x *= factor. */
export function scaleRow(x: Float64Array, factor: number): void {
  for (let d = 0; d < x.length; d++) x[d] = (x[d] as number) * factor
}
