import { createReferenceBackend } from '@tilegrad/core-math'
import { describe, expect, test } from 'vitest'
import type { AttentionPattern } from './attention-pattern'
import type { GPTConfigOptions } from './config'
import { GPT } from './model'
import { numbersOf, someTokens, tinyConfigs } from './test-support'

const backend = createReferenceBackend()
const create = (options: GPTConfigOptions) => GPT.fromConfig(options, { backend, seed: 2 })

describe('patterns', () => {
  const size = 96
  // What token i sees, by the definition of each pattern and by hand.
  const patterns: readonly [pattern: AttentionPattern, sees: (i: number, j: number) => boolean][] = [
    [{ type: 'window', size: 5 }, (i, j) => i - j < 5],
    [{ type: 'localGlobal', window: 5, globalTokens: 2, blockSize: 64 }, (i, j) => i - j < 5 || j < 2],
    [{ type: 'strided', stride: 9, blockSize: 64 }, (i, j) => i - j <= 9 || (i - j) % 9 === 0],
    [{ type: 'fixed', stride: 8, summary: 1, blockSize: 64 }, (i, j) => i >> 3 === j >> 3 || j % 8 === 7],
    [{ type: 'dilated', window: 4, dilation: 3, blockSize: 64 }, (i, j) => (i - j) % 3 === 0 && i - j < 12],
    [{ type: 'butterfly', blockSize: 64 }, () => true],
    [{ type: 'bigBird', windowBlocks: 1, globalBlocks: 0, randomBlocks: 0, seed: 1, blockSize: 64 }, (i, j) => i >> 6 === j >> 6],
  ]
  test.each(patterns)('%j', async (attentionPattern, sees) => {
    const model = create({ ...(tinyConfigs[0] as GPTConfigOptions), contextLength: size, nLayers: 1, attentionPattern })
    const logits = async (ids: Int32Array) => numbersOf(model.forward(model.tokens(ids)).value)
    const ids = someTokens(size, 64)
    const before = await logits(ids)
    for (const changed of [0, 1, 7, 40, 63, 64]) {
      const after = await logits(ids.map((id, i) => (i === changed ? (id + 1) % 64 : id)))
      const rows = Array.from({ length: size }, (_, row) => row)
      const differing = rows.filter((row) => after.slice(row * 64, row * 64 + 64).some((x, i) => x !== before[row * 64 + i]))
      expect(differing).toEqual(rows.filter((row) => row >= changed && sees(row, changed)))
    }
  })

  test('layers take them in turn', async () => {
    const config: GPTConfigOptions = {
      ...(tinyConfigs[0] as GPTConfigOptions),
      nLayers: 3,
      attentionPattern: [
        { type: 'window', size: 2 },
        { type: 'window', size: 1 },
      ],
    }
    const model = create(config)
    const ids = someTokens(8, 64)
    const logits = async (tokens: Int32Array) => numbersOf(model.forward(model.tokens(tokens)).value)
    const [a, b] = [await logits(ids), await logits(ids.map((id, i) => (i === 3 ? (id + 1) % 64 : id)))]
    // One step back in layers 0 and 2, none in layer 1.
    const differing = [...ids.keys()].filter((row) => a.slice(row * 64, row * 64 + 64).some((x, i) => x !== b[row * 64 + i]))
    expect(differing).toEqual([3, 4, 5])
  })
})

describe('packed documents', () => {
  const cuSeqlens = Int32Array.of(0, 7, 7, 24, 24, 40, 48)
  const lengths = [7, 17, 16, 8]
  test.each([
    ...tinyConfigs,
    { ...(tinyConfigs[1] as GPTConfigOptions), positions: 'alibi' as const, attentionSink: true },
    { ...(tinyConfigs[0] as GPTConfigOptions), attentionPattern: { type: 'strided', stride: 3 } as const },
  ])('have the loss that they have alone: %j', async (config) => {
    const model = create(config)
    const [ids, next] = [someTokens(48, 64), someTokens(48, 64, 5)]
    const packed = await numbersOf(model.loss(model.tokens(ids, [2, 24]), model.tokens(next, [2, 24]), { cuSeqlens }).value)
    let [sum, begin] = [0, 0]
    for (const length of lengths) {
      const part = (from: Int32Array) => model.tokens(from.subarray(begin, begin + length))
      sum += length * ((await numbersOf(model.loss(part(ids), part(next)).value))[0] as number)
      begin += length
    }
    expect(Math.abs((packed[0] as number) - sum / 48)).toBeLessThan(1e-13)
  })

  test.each([
    [[0, 24], 'cuSeqlens must go from 0 to 48, got 0 to 24'],
    [[0, 30, 48], 'cuSeqlens must hold every multiple of 24, got 0 before 30'],
    [[0, 24, 20, 48], 'cuSeqlens must ascend, got 24 before 20'],
  ])('%j: %s', (offsets, message) => {
    const model = create(tinyConfigs[0] as GPTConfigOptions)
    expect(() => model.forward(model.tokens(someTokens(48, 64), [2, 24]), { cuSeqlens: Int32Array.from(offsets) })).toThrow(message)
  })

  test('standard attention refuses them', () => {
    const model = create({ ...(tinyConfigs[0] as GPTConfigOptions), attentionImpl: 'standard' })
    expect(() => model.forward(model.tokens(someTokens(4, 64)), { cuSeqlens: Int32Array.of(0, 4) })).toThrow('cuSeqlens must be left out')
  })
})

describe('dropout', () => {
  const config = { ...(tinyConfigs[1] as GPTConfigOptions), attentionDropout: 0.5 }
  const loss = async (model: GPT, dropoutSeed?: number) => {
    const [ids, next] = [model.tokens(someTokens(20, 64)), model.tokens(someTokens(20, 64, 3))]
    return (await numbersOf(model.loss(ids, next, dropoutSeed === undefined ? {} : { dropoutSeed }).value))[0] as number
  }

  test('is off without a seed, and follows the seed', async () => {
    const [model, without] = [create(config), create({ ...config, attentionDropout: 0 })]
    expect(await loss(model)).toBe(await loss(without))
    expect(await loss(without, 4)).toBe(await loss(without))
    expect(await loss(model, 4)).toBe(await loss(model, 4))
    expect(new Set([await loss(model), await loss(model, 4), await loss(model, 5)]).size).toBe(3)
  })

  test.each([false, true])('drops the same in the backward pass, activationCheckpointing %s', async (activationCheckpointing) => {
    const model = create({ ...config, activationCheckpointing, attentionSink: true })
    const { tape } = model
    const value = model.loss(model.tokens(someTokens(20, 64)), model.tokens(someTokens(20, 64, 3)), { dropoutSeed: 4 })
    tape.backward(value)
    for (const name of ['model.layers.0.self_attn.k_proj.weight', 'model.layers.1.self_attn.sinks']) {
      const weight = model.parameters().get(name)
      if (!weight?.grad) throw new Error(`${name} has no gradient`)
      const gradient = await numbersOf(weight.grad)
      const data = await numbersOf(weight.value)
      // The slope along the gradient is its squared norm.
      const norm = Math.hypot(...gradient)
      const at = async (step: number) => {
        const moved = backend.tensor(
          Float64Array.from(data, (x, i) => x + (step * (gradient[i] as number)) / norm),
          weight.shape,
        )
        backend.kernels.copy(moved, { out: weight.value })
        return loss(model, 4)
      }
      const h = 1e-3
      const slope = (8 * ((await at(h)) - (await at(-h))) - ((await at(2 * h)) - (await at(-2 * h)))) / (12 * h)
      await at(0)
      expect(norm).toBeGreaterThan(0)
      expect(Math.abs(slope / norm - 1)).toBeLessThan(1e-7)
    }
  })
})
