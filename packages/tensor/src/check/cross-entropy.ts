import type { Backend } from '../backend'
import type { DType } from '../dtype'
import { ShapeError } from '../errors/shape-error'
import type { CrossEntropyOptions, OutOptions } from '../kernels'
import { formatShape } from '../shape'
import type { Tensor } from '../tensor'
import { checkDType, checkFloat, checkInteger, checkLastAxis, checkOptions, checkShape, checkTarget, checkTensors } from './common'

const DEFAULT_IGNORE_INDEX = -100

/** Cross-entropy of `rows` rows of logits over `vocabSize` classes. */
export interface CrossEntropyProblem {
  readonly rows: number
  readonly vocabSize: number
  readonly ignoreIndex: number
  /** [] */
  readonly lossShape: readonly number[]
  /** [R] */
  readonly lseShape: readonly number[]
  /** [R, V], the shape of the logits and of their gradient. */
  readonly logitsShape: readonly number[]
  /** Of the logits, or of x and weight. */
  readonly dtype: DType
}

/** The same for logits = x·weightᵀ with x [R, channels] and weight [V, channels]. */
export interface LinearCrossEntropyProblem extends CrossEntropyProblem {
  readonly channels: number
}

export function checkCrossEntropyForward(
  backend: Backend,
  logits: Tensor,
  targets: Tensor,
  options: CrossEntropyOptions = {},
): CrossEntropyProblem {
  const fn = 'crossEntropyForward'
  checkTensors(fn, backend, { logits, targets })
  checkOptions(fn, options, ['ignoreIndex'])
  return problem(fn, logits, targets, options)
}

export function checkCrossEntropyBackward(
  backend: Backend,
  dloss: Tensor,
  logits: Tensor,
  targets: Tensor,
  lse: Tensor,
  options: CrossEntropyOptions & OutOptions = {},
): CrossEntropyProblem {
  const fn = 'crossEntropyBackward'
  checkTensors(fn, backend, { dloss, logits, targets, lse })
  checkOptions(fn, options, ['ignoreIndex', 'out'])
  const result = problem(fn, logits, targets, options)
  checkGradient(fn, dloss, lse, result)
  checkTarget(fn, 'out', options.out, backend, result.logitsShape, logits.dtype)
  return result
}

export function checkLinearCrossEntropyForward(
  backend: Backend,
  x: Tensor,
  weight: Tensor,
  targets: Tensor,
  options: CrossEntropyOptions = {},
): LinearCrossEntropyProblem {
  const fn = 'linearCrossEntropyForward'
  checkTensors(fn, backend, { x, weight, targets })
  checkOptions(fn, options, ['ignoreIndex'])
  return linearProblem(fn, x, weight, targets, options)
}

export function checkLinearCrossEntropyBackward(
  backend: Backend,
  dloss: Tensor,
  x: Tensor,
  weight: Tensor,
  targets: Tensor,
  lse: Tensor,
  options: CrossEntropyOptions & { readonly dweightInto?: Tensor } = {},
): LinearCrossEntropyProblem {
  const fn = 'linearCrossEntropyBackward'
  checkTensors(fn, backend, { dloss, x, weight, targets, lse })
  checkOptions(fn, options, ['ignoreIndex', 'dweightInto'])
  const result = linearProblem(fn, x, weight, targets, options)
  checkGradient(fn, dloss, lse, result)
  checkTarget(fn, 'dweightInto', options.dweightInto, backend, weight.shape, x.dtype, 'f32')
  return result
}

function problem(fn: string, logits: Tensor, targets: Tensor, options: CrossEntropyOptions): CrossEntropyProblem {
  checkFloat(fn, 'logits', logits)
  checkShape(fn, 'logits', logits, ['R', 'V'])
  checkLastAxis(fn, { logits })
  const [rows, vocabSize] = logits.shape as [number, number]
  if (vocabSize === 0) throw new ShapeError(fn, 'logits must be [R, V] with V ≥ 1', formatShape(logits.shape))
  return rowsProblem(fn, rows, vocabSize, logits.dtype, targets, options)
}

function linearProblem(fn: string, x: Tensor, weight: Tensor, targets: Tensor, options: CrossEntropyOptions): LinearCrossEntropyProblem {
  checkFloat(fn, 'x', x)
  checkDType(fn, 'weight', weight, x.dtype)
  checkShape(fn, 'x', x, ['R', 'C'])
  const [rows, channels] = x.shape as [number, number]
  checkShape(fn, 'weight', weight, ['V', channels])
  checkLastAxis(fn, { x, weight })
  const vocabSize = weight.shape[0] as number
  if (vocabSize === 0) throw new ShapeError(fn, 'weight must be [V, C] with V ≥ 1', formatShape(weight.shape))
  return { ...rowsProblem(fn, rows, vocabSize, x.dtype, targets, options), channels }
}

function rowsProblem(
  fn: string,
  rows: number,
  vocabSize: number,
  dtype: DType,
  targets: Tensor,
  options: CrossEntropyOptions,
): CrossEntropyProblem {
  const { ignoreIndex = DEFAULT_IGNORE_INDEX } = options
  checkInteger(fn, 'ignoreIndex', ignoreIndex)
  checkDType(fn, 'targets', targets, 'i32')
  checkShape(fn, 'targets', targets, [rows])
  checkLastAxis(fn, { targets })
  return { rows, vocabSize, ignoreIndex, lossShape: [], lseShape: [rows], logitsShape: [rows, vocabSize], dtype }
}

function checkGradient(fn: string, dloss: Tensor, lse: Tensor, { lossShape, lseShape }: CrossEntropyProblem): void {
  checkDType(fn, 'dloss', dloss, 'f32')
  checkShape(fn, 'dloss', dloss, lossShape)
  checkDType(fn, 'lse', lse, 'f32')
  checkShape(fn, 'lse', lse, lseShape)
  checkLastAxis(fn, { lse })
}
