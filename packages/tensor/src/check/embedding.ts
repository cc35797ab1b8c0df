import type { Backend } from '../backend'
import type { DType } from '../dtype'
import type { AccumulateOptions } from '../kernels'
import { numel } from '../shape'
import type { Tensor } from '../tensor'
import {
  checkDType,
  checkFloat,
  checkInteger,
  checkLastAxis,
  checkOptions,
  checkRank,
  checkShape,
  checkTarget,
  checkTensors,
} from './common'

/** A table of `vocabSize` rows of `channels` elements, read or summed into by `tokens` tokens. */
export interface EmbeddingProblem {
  readonly tokens: number
  readonly vocabSize: number
  readonly channels: number
  /** Forward [..., C], backward [V, C]. */
  readonly outShape: readonly number[]
  readonly dtype: DType
}

export function checkEmbeddingForward(backend: Backend, tokens: Tensor, weight: Tensor, options: object = {}): EmbeddingProblem {
  const fn = 'embeddingForward'
  checkTensors(fn, backend, { tokens, weight })
  checkOptions(fn, options, [])
  checkDType(fn, 'tokens', tokens, 'i32')
  checkFloat(fn, 'weight', weight)
  checkShape(fn, 'weight', weight, ['V', 'C'])
  checkLastAxis(fn, { tokens, weight })
  const [vocabSize, channels] = weight.shape as [number, number]
  return { tokens: numel(tokens.shape), vocabSize, channels, outShape: [...tokens.shape, channels], dtype: weight.dtype }
}

export function checkEmbeddingBackward(
  backend: Backend,
  dout: Tensor,
  tokens: Tensor,
  vocabSize: number,
  options: AccumulateOptions = {},
): EmbeddingProblem {
  const fn = 'embeddingBackward'
  checkTensors(fn, backend, { dout, tokens })
  checkOptions(fn, options, ['accumulateInto'])
  checkInteger(fn, 'vocabSize', vocabSize, 1)
  checkDType(fn, 'tokens', tokens, 'i32')
  checkFloat(fn, 'dout', dout)
  checkRank(fn, 'dout', dout, 1, '[..., C]')
  checkShape(fn, 'dout', dout, [...tokens.shape, 'C'])
  checkLastAxis(fn, { dout, tokens })
  const channels = dout.shape.at(-1) as number
  const outShape = [vocabSize, channels]
  checkTarget(fn, 'accumulateInto', options.accumulateInto, backend, outShape, dout.dtype, 'f32')
  return { tokens: numel(tokens.shape), vocabSize, channels, outShape, dtype: dout.dtype }
}
