import { PhiloxStream } from '@tilegrad/core-math'
import { ArgumentError } from '@tilegrad/tensor'
import { KVCache } from './kv-cache'
import type { GPT } from './model'
import { checkSampling, type SamplingOptions, sampleToken } from './sampling'

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to draw. */
  readonly maxNewTokens: number
  /** The same seed draws the same tokens. Default 0. */
  readonly seed?: number
  /** Drawing one of these ends the text; it is yielded. Default: the model's eosTokenId, if it has one. */
  readonly stopTokens?: readonly number[]
}

/**
 * Draws tokens that continue a prompt, one at a time: `for await (const token of generate(model, prompt, { maxNewTokens: 100 }))`.
 *
 * The prompt runs through the model in one pass, each new token in a pass of its own over cached keys and values. When prompt and
 * text have filled the context, the model goes on from the last half of it: those tokens are run again, at positions from 0.
 * @throws ArgumentError for an empty prompt, one that leaves no room in the context, or an option out of range.
 */
export async function* generate(model: GPT, promptTokens: ArrayLike<number>, options: GenerateOptions): AsyncGenerator<number, void> {
  const { maxNewTokens, seed = 0 } = options
  const sampling = checkSampling('generate', options)
  const { contextLength, eosTokenId } = model.config
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 0) {
    throw new ArgumentError('generate', 'maxNewTokens must be an integer ≥ 0', String(maxNewTokens))
  }
  if (promptTokens.length < 1 || promptTokens.length > contextLength) {
    throw new ArgumentError('generate', `promptTokens must be 1 to contextLength (${contextLength}) long`, String(promptTokens.length))
  }
  const stopTokens = new Set(options.stopTokens ?? (eosTokenId === null ? [] : [eosTokenId].flat()))
  const random = new PhiloxStream(seed)
  const text = Array.from(promptTokens)
  const cache = new KVCache(model.backend, model.config, 1, Math.min(contextLength, text.length + maxNewTokens))
  try {
    let unseen = text
    for (let drawn = 0; drawn < maxNewTokens; drawn++) {
      if (cache.length + unseen.length > cache.capacity) {
        cache.clear()
        unseen = text.slice(-Math.ceil(contextLength / 2))
      }
      const token = sampleToken(await nextLogits(model, cache, unseen), sampling, random.nextUniform())
      text.push(token)
      unseen = [token]
      yield token
      if (stopTokens.has(token)) return
    }
  } finally {
    cache.dispose()
  }
}

/** All tokens that `generate` draws. */
export async function generateAll(model: GPT, promptTokens: ArrayLike<number>, options: GenerateOptions): Promise<Int32Array> {
  const tokens: number[] = []
  for await (const token of generate(model, promptTokens, options)) tokens.push(token)
  return Int32Array.from(tokens)
}

/** Runs `tokens` after the cached ones; the logits [vocabSize] of what comes next. */
async function nextLogits(model: GPT, cache: KVCache, tokens: readonly number[]): Promise<ArrayLike<number>> {
  const input = model.tokens(tokens)
  const logits = model.forward(input, { cache, lastOnly: true })
  input.dispose()
  try {
    return await logits.value.read()
  } finally {
    logits.dispose()
  }
}
