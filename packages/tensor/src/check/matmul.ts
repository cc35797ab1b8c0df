import type { Backend } from '../backend'
import type { DType } from '../dtype'
import { ArgumentError } from '../errors/argument-error'
import type { AccumulateOptions, MatmulOptions } from '../kernels'
import { numel } from '../shape'
import type { Tensor } from '../tensor'
import {
  checkBoolean,
  checkChoice,
  checkDType,
  checkFinite,
  checkFloat,
  checkLastAxis,
  checkOptions,
  checkRank,
  checkShape,
  checkTarget,
  checkTensors,
  rows,
} from './common'

/** `batch` products of [m, k] by [k, n]. */
export interface MatmulProblem {
  /** Product of the leading axes of a. */
  readonly batch: number
  readonly m: number
  readonly n: number
  readonly k: number
  /** b is one [K, N] for all of them, and not [..., K, N]. */
  readonly sharedB: boolean
  readonly transposeA: boolean
  readonly transposeB: boolean
  readonly alpha: number
  readonly activation: 'none' | 'gelu'
  /** [..., M, N] */
  readonly outShape: readonly number[]
  readonly dtype: DType
}

export function checkMatmul(backend: Backend, a: Tensor, b: Tensor, options: MatmulOptions = {}): MatmulProblem {
  const fn = 'matmul'
  checkTensors(fn, backend, { a, b })
  checkOptions(fn, options, ['transposeA', 'transposeB', 'alpha', 'bias', 'activation', 'preActivation', 'accumulateInto'])
  const { transposeA = false, transposeB = false, alpha = 1, activation = 'none', bias, preActivation, accumulateInto } = options
  checkBoolean(fn, 'transposeA', transposeA)
  checkBoolean(fn, 'transposeB', transposeB)
  checkFinite(fn, 'alpha', alpha)
  checkChoice(fn, 'activation', activation, ['none', 'gelu'])
  checkFloat(fn, 'a', a)
  checkDType(fn, 'b', b, a.dtype)
  checkRank(fn, 'a', a, 2, transposeA ? '[..., K, M]' : '[..., M, K]')

  const leading = a.shape.slice(0, -2)
  const sharedB = b.shape.length === 2
  const [m, k] = (transposeA ? [a.shape.at(-1), a.shape.at(-2)] : [a.shape.at(-2), a.shape.at(-1)]) as [number, number]
  checkShape(fn, 'b', b, [...(sharedB ? [] : leading), ...(transposeB ? ['N', k] : [k, 'N'])])
  const n = b.shape.at(transposeB ? -2 : -1) as number
  checkLastAxis(fn, { a, b })

  const outShape = [...leading, m, n]
  if (bias !== undefined) {
    checkTensors(fn, backend, { bias })
    checkDType(fn, 'bias', bias, a.dtype)
    checkShape(fn, 'bias', bias, [n])
    checkLastAxis(fn, { bias })
  }
  checkTarget(fn, 'preActivation', preActivation, backend, outShape, a.dtype)
  checkTarget(fn, 'accumulateInto', accumulateInto, backend, outShape, a.dtype, 'f32')
  if (accumulateInto !== undefined && (bias !== undefined || activation !== 'none' || preActivation !== undefined)) {
    throw new ArgumentError(fn, 'accumulateInto goes without bias, activation and preActivation', 'both')
  }
  return { batch: numel(leading), m, n, k, sharedB, transposeA, transposeB, alpha, activation, outShape, dtype: a.dtype }
}

/** Sum of `rows` rows of `columns` elements. */
export interface SumRowsProblem {
  readonly rows: number
  readonly columns: number
  /** [N] */
  readonly outShape: readonly number[]
  readonly dtype: DType
}

export function checkSumRows(backend: Backend, x: Tensor, options: AccumulateOptions = {}): SumRowsProblem {
  const fn = 'sumRows'
  checkTensors(fn, backend, { x })
  checkOptions(fn, options, ['accumulateInto'])
  checkFloat(fn, 'x', x)
  checkRank(fn, 'x', x, 1, '[..., N]')
  checkLastAxis(fn, { x })
  const columns = x.shape.at(-1) as number
  checkTarget(fn, 'accumulateInto', options.accumulateInto, backend, [columns], x.dtype, 'f32')
  return { rows: rows(x.shape), columns, outShape: [columns], dtype: x.dtype }
}
