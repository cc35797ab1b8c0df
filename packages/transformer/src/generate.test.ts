import { createReferenceBackend } from '@tilegrad/core-math'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import { describe, expect, test } from 'vitest'
import type { GPTConfigOptions } from './config'
import { generate, generateAll } from './generate'
import { KVCache } from './kv-cache'
import { GPT } from './model'
import { maxAbs, numbersOf, someTokens, testBackends, tinyConfigs } from './test-support'

const variants: readonly (GPTConfigOptions & { label: string })[] = tinyConfigs.flatMap((config) => [
  { ...config, label: `${config.architecture} flash`, attentionImpl: 'flash' as const },
  { ...config, label: `${config.architecture} standard`, attentionImpl: 'standard' as const },
  { ...config, label: `${config.architecture} window`, attentionPattern: { type: 'window' as const, size: 4 } },
  { ...config, label: `${config.architecture} ALiBi and sinks`, positions: 'alibi' as const, attentionSink: true },
  {
    ...config,
    label: `${config.architecture} block masks`,
    attentionPattern: [
      { type: 'strided' as const, stride: 3 },
      { type: 'localGlobal' as const, window: 4, globalTokens: 2, blockSize: 64 },
    ],
  },
])

async function logitsOf(model: GPT, tokens: Int32Array, chunks?: readonly number[]): Promise<number[]> {
  if (!chunks) return numbersOf(model.forward(model.tokens(tokens)).value)
  const cache = new KVCache(model.backend, model.config, 1, tokens.length)
  const parts: number[] = []
  for (const chunk of chunks) {
    const input = model.tokens(tokens.subarray(cache.length, cache.length + chunk))
    parts.push(...(await numbersOf(model.forward(input, { cache }).value)))
  }
  expect(cache.length).toBe(tokens.length)
  cache.dispose()
  return parts
}

function maxDifference(a: readonly number[], b: readonly number[]): number {
  expect(a.length).toBe(b.length)
  return maxAbs(a.map((x, i) => x - (b[i] as number)))
}

describe('cached logits are those without a cache', () => {
  const tokens = someTokens(24, 64)
  const chunks = [7, 1, 1, 4, 1, 10]

  test.each(variants)('$label', async ({ label: _, ...config }) => {
    const exactModel = GPT.fromConfig(config, { backend: createReferenceBackend(), seed: 9 })
    const exact = await logitsOf(exactModel, tokens)
    const ulp = 2 ** -23 * maxAbs(exact)
    expect(maxDifference(await logitsOf(exactModel, tokens, chunks), exact)).toBeLessThan(ulp)
    for (const { create } of testBackends(createCpuBackend)) {
      const model = GPT.fromConfig(config, { backend: await create(), seed: 9 })
      const uncached = maxDifference(await logitsOf(model, tokens), exact)
      expect(maxDifference(await logitsOf(model, tokens, chunks), exact)).toBeLessThanOrEqual(2 * uncached + ulp)
      await model.backend.dispose()
    }
  })
})

describe('generate', () => {
  const backend = createReferenceBackend({ precision: 'f32' })
  // Weights far larger than a fresh model's, so that what is drawn depends on the text.
  const model = GPT.fromConfig(tinyConfigs[1] as GPTConfigOptions, { backend, seed: 21 })
  for (const { value } of model.parameters().values()) if (value.shape.length === 2) backend.kernels.scale(value, 20, { out: value })
  const prompt = [5, 17, 3]

  /** The most likely next token by a whole forward pass. */
  async function greedyNext(text: readonly number[]): Promise<number> {
    const last = (await numbersOf(model.forward(model.tokens(text)).value)).slice(-64)
    return last.indexOf(Math.max(...last))
  }

  test('temperature 0 takes the most likely token, past the end of the context too', async () => {
    const drawn = await generateAll(model, prompt, { maxNewTokens: 40, temperature: 0 })
    let seen = [...prompt]
    for (const token of drawn) {
      // The context holds 24: when it is full, the last 12 go on.
      if (seen.length > 24) seen = seen.slice(-12)
      expect(token).toBe(await greedyNext(seen))
      seen.push(token)
    }
  })

  test('the seed decides what is drawn', async () => {
    const draw = (seed: number) => generateAll(model, prompt, { maxNewTokens: 20, temperature: 2, seed })
    expect(await draw(1)).toEqual(await draw(1))
    expect(await draw(1)).not.toEqual(await draw(2))
    expect(await draw(1)).toHaveLength(20)
  })

  test('stops after a stop token, and yields one at a time', async () => {
    const all = await generateAll(model, prompt, { maxNewTokens: 12, temperature: 0 })
    const stop = all[4] as number
    const first = all.indexOf(stop)
    expect(await generateAll(model, prompt, { maxNewTokens: 12, temperature: 0, stopTokens: [stop] })).toEqual(all.slice(0, first + 1))
    const seen: number[] = []
    for await (const token of generate(model, prompt, { maxNewTokens: 12, temperature: 0 })) {
      seen.push(token)
      if (seen.length === 3) break
    }
    expect(Int32Array.from(seen)).toEqual(all.slice(0, 3))
  })

  test("stops at the model's own end token", async () => {
    const options = { maxNewTokens: 12, temperature: 0 }
    const [, second] = await generateAll(model, prompt, options)
    const weights = Array.from(model.parameters(), ([name, { value }]) => [name, backend.kernels.copy(value)] as const)
    const ending = new GPT({ ...model.config, eosTokenId: second as number }, backend, weights)
    const drawn = await generateAll(ending, prompt, options)
    expect(drawn.at(-1)).toBe(second)
    expect(drawn.length).toBeLessThanOrEqual(2)
    ending.dispose()
  })

  test('frees what it made, also when it is left early', async () => {
    const before = backend.memory().bytes
    await generateAll(model, prompt, { maxNewTokens: 30 })
    for await (const _ of generate(model, prompt, { maxNewTokens: 30 })) break
    expect(backend.memory().bytes).toBe(before)
  })

  test.each([
    [[], { maxNewTokens: 1 }, 'promptTokens must be 1 to contextLength (24) long, got 0'],
    [new Int32Array(25), { maxNewTokens: 1 }, 'promptTokens must be 1 to contextLength (24) long, got 25'],
    [[64], { maxNewTokens: 1 }, 'ids must be integers in 0..63, got 64'],
    [[1], { maxNewTokens: -1 }, 'maxNewTokens must be an integer ≥ 0, got -1'],
    [[1], { maxNewTokens: 1, temperature: -1 }, 'temperature must be a finite number ≥ 0, got -1'],
    [[1], { maxNewTokens: 1, topK: 1.5 }, 'topK must be an integer ≥ 0, got 1.5'],
    [[1], { maxNewTokens: 1, topP: 0 }, 'topP must be in (0, 1], got 0'],
  ])('refuses %o %o', async (tokens, options, message) => {
    const before = backend.memory().bytes
    await expect(generateAll(model, tokens, options)).rejects.toThrow(message)
    expect(backend.memory().bytes).toBe(before)
  })
})
