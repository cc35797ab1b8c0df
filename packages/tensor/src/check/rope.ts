import type { Backend } from '../backend'
import type { DType } from '../dtype'
import { ShapeError } from '../errors/shape-error'
import { formatShape } from '../shape'
import type { Tensor } from '../tensor'
import { checkDType, checkFloat, checkInteger, checkLastAxis, checkOptions, checkShape, checkTensors } from './common'

/** Rotary embedding of x [batchSize, seqlen, nHeads, headDim]. */
export interface RopeProblem {
  readonly batchSize: number
  readonly seqlen: number
  readonly nHeads: number
  readonly headDim: number
  /** R: how many of the head dims turn. Even. */
  readonly rotaryDim: number
  readonly positionOffset: number
  readonly outShape: readonly number[]
  readonly dtype: DType
}

interface RopeOptions {
  readonly positionOffset?: number
}

export function checkRopeForward(backend: Backend, x: Tensor, cos: Tensor, sin: Tensor, options: RopeOptions = {}): RopeProblem {
  return problem('ropeForward', backend, 'x', x, cos, sin, options)
}

export function checkRopeBackward(backend: Backend, dout: Tensor, cos: Tensor, sin: Tensor, options: RopeOptions = {}): RopeProblem {
  return problem('ropeBackward', backend, 'dout', dout, cos, sin, options)
}

function problem(fn: string, backend: Backend, name: string, x: Tensor, cos: Tensor, sin: Tensor, options: RopeOptions): RopeProblem {
  checkTensors(fn, backend, { [name]: x, cos, sin })
  checkOptions(fn, options, ['positionOffset'])
  const { positionOffset = 0 } = options
  checkInteger(fn, 'positionOffset', positionOffset, 0)
  checkFloat(fn, name, x)
  checkDType(fn, 'cos', cos, 'f32')
  checkDType(fn, 'sin', sin, 'f32')
  checkShape(fn, name, x, ['B', 'S', 'H', 'D'])
  checkShape(fn, 'cos', cos, ['maxS', 'R/2'])
  checkShape(fn, 'sin', sin, cos.shape)
  checkLastAxis(fn, { [name]: x, cos, sin })
  const [batchSize, seqlen, nHeads, headDim] = x.shape as [number, number, number, number]
  const [maxSeqlen, half] = cos.shape as [number, number]
  if (2 * half > headDim) throw new ShapeError(fn, `cos must be [maxS, R/2] with R/2 ≤ ${Math.floor(headDim / 2)}`, formatShape(cos.shape))
  if (seqlen + positionOffset > maxSeqlen) {
    throw new ShapeError(fn, `cos must have a row for each of ${seqlen} + ${positionOffset} positions`, formatShape(cos.shape))
  }
  return { batchSize, seqlen, nHeads, headDim, rotaryDim: 2 * half, positionOffset, outShape: x.shape, dtype: x.dtype }
}
