import type { Backend } from '../backend'
import type { DType } from '../dtype'
import { ArgumentError } from '../errors/argument-error'
import type { AccumulateOptions, AdamWOptions } from '../kernels'
import { numel } from '../shape'
import type { Tensor } from '../tensor'
import {
  checkAtLeast,
  checkDType,
  checkFinite,
  checkFloat,
  checkInteger,
  checkLastAxis,
  checkOptions,
  checkShape,
  checkTarget,
  checkTensors,
} from './common'
import type { ElementwiseProblem } from './elementwise'

/** One AdamW step on `elements` parameters, with every option present. */
export interface AdamWProblem extends Required<AdamWOptions> {
  readonly elements: number
  /** Of param. */
  readonly dtype: DType
  /** Of expAvg and expAvgSq. */
  readonly stateDType: DType
}

export function checkAdamwStep(
  backend: Backend,
  param: Tensor,
  grad: Tensor,
  expAvg: Tensor,
  expAvgSq: Tensor,
  options: AdamWOptions,
): AdamWProblem {
  const fn = 'adamwStep'
  checkTensors(fn, backend, { param, grad, expAvg, expAvgSq })
  checkOptions(fn, options, ['lr', 'beta1', 'beta2', 'eps', 'weightDecay', 'step', 'gradScale'])
  const { lr, beta1, beta2, eps, weightDecay, step, gradScale = 1 } = options
  checkAtLeast(fn, 'lr', lr, 0)
  checkBeta(fn, 'beta1', beta1)
  checkBeta(fn, 'beta2', beta2)
  checkAtLeast(fn, 'eps', eps, 0)
  checkAtLeast(fn, 'weightDecay', weightDecay, 0)
  checkInteger(fn, 'step', step, 1)
  checkFinite(fn, 'gradScale', gradScale)

  checkFloat(fn, 'param', param)
  checkTarget(fn, 'param', param, backend, param.shape, param.dtype)
  checkDType(fn, 'grad', grad, param.dtype, 'f32')
  checkShape(fn, 'grad', grad, param.shape)
  checkLastAxis(fn, { grad })
  checkTarget(fn, 'expAvg', expAvg, backend, param.shape, param.dtype, 'f32')
  checkTarget(fn, 'expAvgSq', expAvgSq, backend, param.shape, expAvg.dtype)
  return {
    lr,
    beta1,
    beta2,
    eps,
    weightDecay,
    step,
    gradScale,
    elements: numel(param.shape),
    dtype: param.dtype,
    stateDType: expAvg.dtype,
  }
}

/** outShape is [], the dtype that of x; the sum is f32. */
export function checkSumSquares(backend: Backend, x: Tensor, options: AccumulateOptions = {}): ElementwiseProblem {
  const fn = 'sumSquares'
  checkTensors(fn, backend, { x })
  checkOptions(fn, options, ['accumulateInto'])
  checkFloat(fn, 'x', x)
  checkLastAxis(fn, { x })
  checkTarget(fn, 'accumulateInto', options.accumulateInto, backend, [], 'f32')
  return { elements: numel(x.shape), outShape: [], dtype: x.dtype }
}

function checkBeta(fn: string, name: string, beta: number): void {
  if (!(beta >= 0 && beta < 1)) throw new ArgumentError(fn, `${name} must be in [0, 1)`, String(beta))
}
