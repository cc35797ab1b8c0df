import type { Backend } from '../backend'
import type { DType } from '../dtype'
import type { OutOptions } from '../kernels'
import type { Tensor } from '../tensor'
import {
  checkBoolean,
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

/** Softmax over the last axis of [..., seqlenQ, seqlenK]. */
export interface SoftmaxProblem {
  /** All leading axes together, seqlenQ included. */
  readonly rows: number
  /** 1 for a vector. */
  readonly seqlenQ: number
  readonly seqlenK: number
  readonly scale: number
  readonly outShape: readonly number[]
  readonly dtype: DType
}

/** A SoftmaxProblem with what the forward pass needs besides. */
export interface SoftmaxForwardProblem extends SoftmaxProblem {
  readonly causal: boolean
}

export function checkSoftmaxForward(
  backend: Backend,
  x: Tensor,
  options: OutOptions & { readonly scale?: number; readonly causal?: boolean } = {},
): SoftmaxForwardProblem {
  const fn = 'softmaxForward'
  checkTensors(fn, backend, { x })
  checkOptions(fn, options, ['out', 'scale', 'causal'])
  const { causal = false } = options
  checkBoolean(fn, 'causal', causal)
  return { ...problem(fn, backend, 'x', x, options), causal }
}

export function checkSoftmaxBackward(
  backend: Backend,
  dout: Tensor,
  out: Tensor,
  options: OutOptions & { readonly scale?: number } = {},
): SoftmaxProblem {
  const fn = 'softmaxBackward'
  checkTensors(fn, backend, { dout, out })
  checkOptions(fn, options, ['out', 'scale'])
  const result = problem(fn, backend, 'out', out, options)
  checkDType(fn, 'dout', dout, out.dtype)
  checkShape(fn, 'dout', dout, out.shape)
  checkLastAxis(fn, { dout })
  return result
}

function problem(fn: string, backend: Backend, name: string, x: Tensor, options: OutOptions & { readonly scale?: number }): SoftmaxProblem {
  const { scale = 1 } = options
  checkFinite(fn, 'scale', scale)
  checkFloat(fn, name, x)
  checkRank(fn, name, x, 1, '[..., Sq, Sk]')
  checkLastAxis(fn, { [name]: x })
  checkTarget(fn, name === 'out' ? 'options.out' : 'out', options.out, backend, x.shape, x.dtype)
  return {
    rows: rows(x.shape),
    seqlenQ: x.shape.at(-2) ?? 1,
    seqlenK: x.shape.at(-1) as number,
    scale,
    outShape: x.shape,
    dtype: x.dtype,
  }
}
