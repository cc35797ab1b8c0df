import { createReferenceBackend } from '@tilegrad/core-math'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import type { Backend } from '@tilegrad/tensor'
import { describe, expect, test } from 'vitest'
import { AdamW } from './adamw'
import type { AttentionPattern } from './attention-pattern'
import type { GPTConfigOptions } from './config'
import { GPT } from './model'
import { parameterSpecs } from './parameters'
import { numbersOf, someTokens, testBackends, tinyConfigs } from './test-support'

const batchSize = 2
const seqlen = 16

function step(model: GPT) {
  const { vocabSize } = model.config
  return model.tape.scope(() => {
    const inputs = model.tokens(someTokens(batchSize * seqlen, vocabSize), [batchSize, seqlen])
    const targets = model.tokens(someTokens(batchSize * seqlen, vocabSize, 5), [batchSize, seqlen])
    const loss = model.loss(inputs, targets)
    model.tape.backward(loss)
    return loss
  })
}

async function gradients(backend: Backend, config: GPTConfigOptions) {
  const model = GPT.fromConfig(config, { backend, seed: 3 })
  const loss = step(model)
  const all = new Map<string, ArrayLike<number>>([['loss', await loss.value.read()]])
  for (const [name, { grad }] of model.parameters()) if (grad) all.set(name, await grad.read())
  loss.dispose()
  model.dispose()
  return all
}

describe.each(testBackends(createCpuBackend))('on $name', ({ create }) => {
  test.each(tinyConfigs)('$architecture overfits one batch, and memory returns to where it was', async (config) => {
    const backend = await create()
    const empty = backend.memory().bytes
    const model = GPT.fromConfig(config, { backend, seed: 1 })
    const optimizer = new AdamW(model.parameters(), { lr: 1e-2, weightDecay: 0 })
    const before = backend.memory().bytes
    let loss = Number.POSITIVE_INFINITY
    for (let i = 0; i < 60; i++) {
      const variable = step(model)
      await optimizer.step({ maxGradNorm: 1 })
      model.zeroGrad()
      loss = (await variable.value.read())[0] as number
      variable.dispose()
    }
    expect(loss).toBeLessThan(0.05)
    expect(backend.memory().bytes).toBe(before)
    optimizer.dispose()
    model.dispose()
    expect(backend.memory().bytes).toBe(empty)
    await backend.dispose()
  })

  test.each(tinyConfigs)('$architecture: activation checkpointing changes no bit of a gradient and lowers the peak', async (config) => {
    const backend = await create()
    const deep = { ...config, nLayers: 6 }
    backend.resetPeakMemory()
    const kept = await gradients(backend, deep)
    const peakKept = backend.memory().peakBytes
    backend.resetPeakMemory()
    const recomputed = await gradients(backend, { ...deep, activationCheckpointing: true })
    expect(backend.memory().peakBytes).toBeLessThan(peakKept)
    expect(recomputed).toEqual(kept)
    expect(kept.size).toBe(parameterSpecs(GPT.fromConfig(deep, { backend }).config).size + 1)
    await backend.dispose()
  })
})

test('the loss holds no array of all logits', async () => {
  const backend = await createCpuBackend({ runtime: 'wasm', threads: 1 })
  const config = { vocabSize: 8192, contextLength: 1024, nLayers: 1, nHeads: 1, dModel: 8 }
  const model = GPT.fromConfig(config, { backend })
  const tokens = model.tokens(someTokens(1024, 8192))
  const before = backend.memory().bytes
  backend.resetPeakMemory()
  model.tape.backward(model.loss(tokens, tokens))
  await backend.sync()
  expect(backend.memory().peakBytes - before).toBeLessThan((1024 * 8192 * 4) / 2)
  await backend.dispose()
})

describe('a fresh model', () => {
  test.each(tinyConfigs)('$architecture starts at the loss of its random logits', async (config) => {
    const backend = createReferenceBackend()
    const model = GPT.fromConfig({ ...config, tieEmbeddings: false }, { backend, seed: 11 })
    const { vocabSize, dModel } = model.config
    const loss = (await step(model).value.read())[0] as number
    // The norm leaves vectors of length √dModel, the head draws from normal(0, 0.02): logits are normal(0, σ²), their
    // log-sum-exp is ln V + σ²/2 give or take √((e^σ² − 1)/V), and the mean target logit is 0 give or take σ/√(B·T).
    const variance = 0.02 ** 2 * dModel
    const expected = Math.log(vocabSize) + variance / 2
    const deviation = Math.sqrt(Math.expm1(variance) / vocabSize + variance / (batchSize * seqlen))
    expect(Math.abs(loss - expected)).toBeLessThan(4 * deviation)
  })

  test('draws weights as GPT-2 does', async () => {
    const backend = createReferenceBackend()
    const config = { vocabSize: 500, contextLength: 64, nLayers: 3, nHeads: 4, dModel: 64 }
    const model = GPT.fromConfig(config, { backend, seed: 5 })
    for (const [name, { value }] of model.parameters()) {
      const data = await numbersOf(value)
      if (name.endsWith('bias') || name.includes('ln_')) {
        expect(new Set(data)).toEqual(new Set([name.endsWith('bias') ? 0 : 1]))
        continue
      }
      const std = name.endsWith('c_proj.weight') ? 0.02 / Math.sqrt(2 * 3) : 0.02
      const n = data.length
      const mean = data.reduce((sum, x) => sum + x, 0) / n
      const variance = data.reduce((sum, x) => sum + x * x, 0) / n
      // Mean and variance of n draws stray by std/√n and std²·√(2/n).
      expect(Math.abs(mean)).toBeLessThan((5 * std) / Math.sqrt(n))
      expect(Math.abs(variance - std ** 2)).toBeLessThan(5 * std ** 2 * Math.sqrt(2 / n))
    }
  })

  test('depends on the seed alone', async () => {
    const weights = async (seed: number) => {
      const model = GPT.fromConfig(tinyConfigs[1] as GPTConfigOptions, { backend: createReferenceBackend({ precision: 'f32' }), seed })
      return Promise.all(Array.from(model.parameters().values(), ({ value }) => value.read()))
    }
    expect(await weights(4)).toEqual(await weights(4))
    expect((await weights(4))[0]).not.toEqual((await weights(5))[0])
  })

  test('draws no tensor twice', async () => {
    const model = GPT.fromConfig(tinyConfigs[1] as GPTConfigOptions, { backend: createReferenceBackend() })
    const q0 = await model.parameters().get('model.layers.0.self_attn.q_proj.weight')?.value.read()
    const q1 = await model.parameters().get('model.layers.1.self_attn.q_proj.weight')?.value.read()
    expect(q0).not.toEqual(q1)
  })
})

describe('forward', () => {
  const backend = createReferenceBackend()
  const config = tinyConfigs[0] as GPTConfigOptions

  test('sees nothing of later tokens, and with a window nothing of much earlier ones', async () => {
    const logits = async (attentionPattern: AttentionPattern, ids: Int32Array) => {
      const model = GPT.fromConfig({ ...config, nLayers: 1, attentionPattern }, { backend, seed: 2 })
      return numbersOf(model.forward(model.tokens(ids)).value)
    }
    const ids = someTokens(20, 64)
    const changed = ids.map((id, i) => (i === 10 ? (id + 1) % 64 : id))
    const rowsThatDiffer = async (attentionPattern: AttentionPattern) => {
      const [a, b] = [await logits(attentionPattern, ids), await logits(attentionPattern, changed)]
      return Array.from({ length: 20 }, (_, row) => row).filter((row) =>
        a.slice(row * 64, row * 64 + 64).some((x, i) => x !== b[row * 64 + i]),
      )
    }
    expect(await rowsThatDiffer({ type: 'dense' })).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
    expect(await rowsThatDiffer({ type: 'window', size: 4 })).toEqual([10, 11, 12, 13])
  })

  test('lastOnly computes the last row of the logits', async () => {
    const model = GPT.fromConfig(config, { backend, seed: 2 })
    const tokens = model.tokens(someTokens(2 * 9, 64), [2, 9])
    const all = await numbersOf(model.forward(tokens).value)
    const last = model.forward(tokens, { lastOnly: true })
    expect(last.shape).toEqual([2, 1, 64])
    expect(await numbersOf(last.value)).toEqual([...all.slice(8 * 64, 9 * 64), ...all.slice(17 * 64, 18 * 64)])
  })

  test('targets of ignoreIndex do not count', async () => {
    const model = GPT.fromConfig(config, { backend, seed: 2 })
    const ids = someTokens(8, 64)
    const half = Int32Array.from(ids, (id, i) => (i < 4 ? id : -100))
    const masked = await model.loss(model.tokens(ids), model.tokens(half, [1, 8], -100)).value.read()
    const cut = await model.loss(model.tokens(ids.subarray(0, 4)), model.tokens(ids.subarray(0, 4))).value.read()
    expect(masked[0]).toBeCloseTo(cut[0] as number, 12)
  })

  test('refuses what does not fit, and leaks nothing', () => {
    const model = GPT.fromConfig(config, { backend })
    const before = backend.memory().bytes
    model.tape.scope(() => {
      const long = model.tokens(new Int32Array(25))
      expect(() => model.forward(long)).toThrow('GPT.forward: at most contextLength 24 positions, got 25')
      expect(() => model.forward(model.tokens([1, 2], [2]))).toThrow('GPT.forward: tokens must be [B, T], not empty, got [2]')
      expect(() => model.forward(backend.zeros([1, 4]))).toThrow('GPT.forward: tokens must be i32, got f32')
      expect(() => model.loss(model.tokens([1, 2]), model.tokens([1]))).toThrow('targets must have the shape of tokens, [1, 2], got [1, 1]')
      expect(() => model.tokens([3, 64])).toThrow('GPT.tokens: ids must be integers in 0..63, got 64 at index 1')
      expect(() => model.tokens([1, -100])).toThrow('got -100 at index 1')
      expect(() => model.tokens([1.5])).toThrow('got 1.5 at index 0')
    })
    expect(backend.memory().bytes).toBe(before)
  })
})
