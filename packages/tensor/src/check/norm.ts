import type { Backend } from '../backend'
import type { DType } from '../dtype'
import { ShapeError } from '../errors/shape-error'
import { formatShape } from '../shape'
import type { Tensor } from '../tensor'
import {
  checkAtLeast,
  checkDType,
  checkFloat,
  checkLastAxis,
  checkOptions,
  checkRank,
  checkShape,
  checkTarget,
  checkTensors,
  leadingAxes,
  rows,
} from './common'

/** Normalisation of `rows` rows of `channels` elements. */
export interface NormProblem {
  readonly rows: number
  readonly channels: number
  /** [..., C], of out and dx. */
  readonly outShape: readonly number[]
  /** [...], of mean and rstd. */
  readonly statShape: readonly number[]
  readonly dtype: DType
}

/** A NormProblem with what the forward pass needs besides. */
export interface NormForwardProblem extends NormProblem {
  readonly eps: number
}

const DEFAULT_EPS = 1e-5

export function checkLayerNormForward(
  backend: Backend,
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  options: { readonly eps?: number } = {},
): NormForwardProblem {
  const fn = 'layerNormForward'
  checkTensors(fn, backend, { x, weight, bias })
  return { ...problem(fn, x, { weight, bias }), eps: checkEps(fn, options) }
}

export function checkLayerNormBackward(
  backend: Backend,
  dout: Tensor,
  x: Tensor,
  weight: Tensor,
  mean: Tensor,
  rstd: Tensor,
  options: { readonly dweightInto?: Tensor; readonly dbiasInto?: Tensor } = {},
): NormProblem {
  const fn = 'layerNormBackward'
  checkTensors(fn, backend, { dout, x, weight, mean, rstd })
  checkOptions(fn, options, ['dweightInto', 'dbiasInto'])
  const result = problem(fn, x, { weight })
  checkBackward(fn, result, dout, { mean, rstd })
  checkTarget(fn, 'dweightInto', options.dweightInto, backend, [result.channels], x.dtype, 'f32')
  checkTarget(fn, 'dbiasInto', options.dbiasInto, backend, [result.channels], x.dtype, 'f32')
  return result
}

export function checkRmsNormForward(
  backend: Backend,
  x: Tensor,
  weight: Tensor,
  options: { readonly eps?: number } = {},
): NormForwardProblem {
  const fn = 'rmsNormForward'
  checkTensors(fn, backend, { x, weight })
  return { ...problem(fn, x, { weight }), eps: checkEps(fn, options) }
}

export function checkRmsNormBackward(
  backend: Backend,
  dout: Tensor,
  x: Tensor,
  weight: Tensor,
  rstd: Tensor,
  options: { readonly dweightInto?: Tensor } = {},
): NormProblem {
  const fn = 'rmsNormBackward'
  checkTensors(fn, backend, { dout, x, weight, rstd })
  checkOptions(fn, options, ['dweightInto'])
  const result = problem(fn, x, { weight })
  checkBackward(fn, result, dout, { rstd })
  checkTarget(fn, 'dweightInto', options.dweightInto, backend, [result.channels], x.dtype, 'f32')
  return result
}

function problem(fn: string, x: Tensor, parameters: Readonly<Record<string, Tensor>>): NormProblem {
  checkFloat(fn, 'x', x)
  checkRank(fn, 'x', x, 1, '[..., C]')
  const channels = x.shape.at(-1) as number
  if (channels === 0) throw new ShapeError(fn, 'x must be [..., C] with C ≥ 1', formatShape(x.shape))
  for (const [name, parameter] of Object.entries(parameters)) {
    checkDType(fn, name, parameter, x.dtype)
    checkShape(fn, name, parameter, [channels])
  }
  checkLastAxis(fn, { x, ...parameters })
  return { rows: rows(x.shape), channels, outShape: x.shape, statShape: leadingAxes(x.shape), dtype: x.dtype }
}

function checkBackward(
  fn: string,
  { outShape, statShape, dtype }: NormProblem,
  dout: Tensor,
  stats: Readonly<Record<string, Tensor>>,
): void {
  checkDType(fn, 'dout', dout, dtype)
  checkShape(fn, 'dout', dout, outShape)
  for (const [name, stat] of Object.entries(stats)) {
    checkDType(fn, name, stat, 'f32')
    checkShape(fn, name, stat, statShape)
  }
  checkLastAxis(fn, { dout, ...stats })
}

function checkEps(fn: string, options: { readonly eps?: number }): number {
  checkOptions(fn, options, ['eps'])
  const { eps = DEFAULT_EPS } = options
  checkAtLeast(fn, 'eps', eps, 0)
  return eps
}
