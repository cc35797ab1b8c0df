import type { AttentionOptions } from '../attention'
import type { Backend } from '../backend'
import { ArgumentError } from '../errors/argument-error'
import { ShapeError } from '../errors/shape-error'
import { formatShape } from '../shape'
import type { Tensor } from '../tensor'
import type { AttentionProblem } from './attention'
import { checkBoolean, checkChoice, checkDType, checkFinite, checkInteger, checkLastAxis, checkShape, checkTensors } from './common'

/** A tensor read as if it had more axes or longer ones: along those its stride is 0. */
export interface Broadcast {
  readonly tensor: Tensor
  readonly strides: readonly number[]
}

/** Names of the options that scoreProblem checks. */
export const SCORE_OPTIONS = [
  'softmaxScale',
  'softcap',
  'causal',
  'causalAlign',
  'windowSize',
  'alibiSlopes',
  'bias',
  'sink',
  'dropoutP',
  'seed',
] as const

type Sizes = Pick<AttentionProblem, 'batchSize' | 'seqlenQ' | 'seqlenK' | 'nHeads' | 'headDim'>
type Scores = Pick<
  AttentionProblem,
  | 'softmaxScale'
  | 'softcap'
  | 'windowLeft'
  | 'windowRight'
  | 'causalTopLeft'
  | 'alibiSlopes'
  | 'bias'
  | 'sink'
  | 'dropoutP'
  | 'dropoutThreshold'
  | 'seed'
>

/** Checks the options that change scores and probabilities, and folds causal, causalAlign and windowSize into a band. */
export function scoreProblem(fn: string, backend: Backend, options: AttentionOptions, sizes: Sizes): Scores {
  const {
    softmaxScale = 1 / Math.sqrt(sizes.headDim),
    softcap,
    causal = false,
    causalAlign = 'bottom-right',
    windowSize = [-1, -1],
  } = options
  checkFinite(fn, 'softmaxScale', softmaxScale)
  if (softcap !== undefined && !(Number.isFinite(softcap) && softcap > 0)) {
    throw new ArgumentError(fn, 'softcap must be a finite number > 0', String(softcap))
  }
  checkBoolean(fn, 'causal', causal)
  checkChoice(fn, 'causalAlign', causalAlign, ['bottom-right', 'top-left'])
  checkWindow(fn, windowSize)
  const [left, right] = windowSize.map((side) => (side < 0 ? Number.POSITIVE_INFINITY : side)) as [number, number]
  return {
    softmaxScale,
    softcap: softcap ?? 0,
    windowLeft: left,
    windowRight: causal && causalAlign === 'bottom-right' ? Math.min(0, right) : right,
    causalTopLeft: causal && causalAlign === 'top-left',
    ...learnableOptions(fn, backend, options, sizes),
    ...dropout(fn, options),
  }
}

function checkWindow(fn: string, windowSize: readonly number[]): void {
  const fits = Array.isArray(windowSize) && windowSize.length === 2 && windowSize.every((side) => Number.isSafeInteger(side) && side >= -1)
  if (!fits) {
    const got = Array.isArray(windowSize) ? formatShape(windowSize) : String(windowSize)
    throw new ArgumentError(fn, 'windowSize must be [left, right], two integers ≥ −1', got)
  }
}

function learnableOptions(
  fn: string,
  backend: Backend,
  { alibiSlopes, bias, sink, cuSeqlensQ }: AttentionOptions,
  { batchSize, nHeads, seqlenQ, seqlenK }: Sizes,
): Pick<Scores, 'alibiSlopes' | 'bias' | 'sink'> {
  for (const [name, tensor] of Object.entries({ alibiSlopes, bias, sink })) {
    if (tensor === undefined) continue
    checkTensors(fn, backend, { [name]: tensor })
    checkDType(fn, name, tensor, 'f32')
    checkLastAxis(fn, { [name]: tensor })
  }
  if (sink !== undefined) checkShape(fn, 'sink', sink, [nHeads])
  if (bias !== undefined && cuSeqlensQ !== undefined) {
    throw new ArgumentError(
      fn,
      'bias must be left out with cuSeqlensQ: sequences of several lengths share no [Sq, Sk]',
      `bias ${formatShape(bias.shape)}`,
    )
  }
  if (alibiSlopes !== undefined) checkShape(fn, 'alibiSlopes', alibiSlopes, alibiSlopes.shape.length === 1 ? [nHeads] : [batchSize, nHeads])
  return {
    ...(alibiSlopes && { alibiSlopes: broadcast(fn, 'alibiSlopes', alibiSlopes, [batchSize, nHeads]) }),
    ...(bias && { bias: broadcast(fn, 'bias', bias, [batchSize, nHeads, seqlenQ, seqlenK]) }),
    ...(sink && { sink }),
  }
}

/** `tensor` read as `shape`, aligned to the right; each of its axes has that length or 1. */
function broadcast(fn: string, name: string, tensor: Tensor, shape: readonly number[]): Broadcast {
  const missing = shape.length - tensor.shape.length
  const fits = missing >= 0 && tensor.shape.every((size, axis) => size === 1 || size === shape[missing + axis])
  if (!fits) throw new ShapeError(fn, `${name} must be broadcastable to ${formatShape(shape)}`, formatShape(tensor.shape))
  const strides = shape.map((_, axis) =>
    axis < missing || tensor.shape[axis - missing] === 1 ? 0 : (tensor.strides[axis - missing] as number),
  )
  return { tensor, strides }
}

function dropout(fn: string, { dropoutP = 0, seed }: AttentionOptions): Pick<Scores, 'dropoutP' | 'dropoutThreshold' | 'seed'> {
  if (!(dropoutP >= 0 && dropoutP < 1)) throw new ArgumentError(fn, 'dropoutP must be in [0, 1)', String(dropoutP))
  if (dropoutP > 0 && seed === undefined) throw new ArgumentError(fn, 'seed must be given with dropoutP > 0', 'none')
  if (seed !== undefined) checkInteger(fn, 'seed', seed, 0)
  return { dropoutP, dropoutThreshold: Math.floor(dropoutP * 2 ** 32), seed: seed ?? 0 }
}
