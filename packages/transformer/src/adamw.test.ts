import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Tape, type Variable } from '@tilegrad/autograd'
import { createReferenceBackend } from '@tilegrad/core-math'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { AdamW } from './adamw'
import { readSafetensors, writeSafetensors } from './checkpoint/safetensors'
import { numbersOf } from './test-support'

const backend = createReferenceBackend()
const tape = new Tape(backend)
let folder: string
let matrix: Variable
let vector: Variable

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'adamw-'))
})
afterAll(() => rm(folder, { recursive: true }))
beforeEach(() => {
  matrix = tape.parameter(backend.tensor([1, -2, 3, 4], [2, 2]), { name: 'matrix' })
  vector = tape.parameter(backend.tensor([0.5, -1], [2]), { name: 'vector' })
})

const parameters = () => new Map([['matrix', matrix], ['vector', vector]]) // biome-ignore format: short

/** Gives the parameters these gradients. */
function setGradients(ofMatrix: readonly number[], ofVector?: readonly number[]): void {
  tape.zeroGrad([matrix, vector])
  tape.backward(matrix, { seed: backend.tensor(ofMatrix, [2, 2]) })
  if (ofVector) tape.backward(vector, { seed: backend.tensor(ofVector, [2]) })
}

/** arXiv 1711.05101, algorithm 2, for one number. */
function adamw(
  theta: number,
  gradients: readonly number[],
  decay: number,
  { lr = 0.1, beta1 = 0.9, beta2 = 0.999, eps = 1e-8 } = {},
): number {
  let [m, v, x] = [0, 0, theta]
  gradients.forEach((g, i) => {
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    x = x - lr * decay * x - (lr * (m / (1 - beta1 ** (i + 1)))) / (Math.sqrt(v / (1 - beta2 ** (i + 1))) + eps)
  })
  return x
}

describe('step', () => {
  test('follows the algorithm, and decays matrices only', async () => {
    const optimizer = new AdamW(parameters(), { lr: 0.1, weightDecay: 0.3 })
    const gradients = [[1, -2, 0.5, 0, 3, -1], [0.1, 2, -0.5, 0, 1, 1]] as const // biome-ignore format: short
    for (const g of gradients) {
      setGradients(g.slice(0, 4), g.slice(4))
      await optimizer.step()
    }
    const start = [1, -2, 3, 4, 0.5, -1]
    const now = [...(await numbersOf(matrix.value)), ...(await numbersOf(vector.value))]
    now.forEach((x, i) => {
      const expected = adamw(start[i] as number, [gradients[0][i] as number, gradients[1][i] as number], i < 4 ? 0.3 : 0)
      expect(x).toBeCloseTo(expected, 12)
    })
    expect(optimizer.stepsTaken).toBe(2)
  })

  test('reports the norm of all gradients and scales them down to maxGradNorm together', async () => {
    const clipped = new AdamW(parameters(), { lr: 0.1, eps: 1 })
    setGradients([2, 4, 4, 0], [0, 8])
    expect(await clipped.step({ maxGradNorm: 5 })).toEqual({ gradNorm: 10 })
    const scale = 5 / (10 + 1e-6)
    expect((await numbersOf(vector.value))[1]).toBeCloseTo(adamw(-1, [8 * scale], 0, { eps: 1 }), 12)
    expect((await numbersOf(matrix.value))[1]).toBeCloseTo(adamw(-2, [4 * scale], 0.01, { eps: 1 }), 12)
  })

  test('does not scale gradients up, and takes the learning rate of the step', async () => {
    const optimizer = new AdamW(parameters(), { lr: 0.1, eps: 1 })
    setGradients([2, 4, 4, 0], [0, 8])
    await optimizer.step({ maxGradNorm: 11, lr: 0.7 })
    expect((await numbersOf(vector.value))[1]).toBeCloseTo(adamw(-1, [8], 0, { eps: 1, lr: 0.7 }), 12)
  })

  test('leaves parameters without a gradient alone, as PyTorch does', async () => {
    const optimizer = new AdamW(parameters())
    setGradients([1, 1, 1, 1])
    await optimizer.step()
    expect(await numbersOf(vector.value)).toEqual([0.5, -1])
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('with a gradient of %d changes nothing and says so', async (bad) => {
    const optimizer = new AdamW(parameters())
    setGradients([1, 1, 1, 1], [1, 1])
    await optimizer.step()
    const before = [await numbersOf(matrix.value), await Promise.all(Array.from(optimizer.state().tensors.values(), numbersOf))]
    setGradients([1, 1, bad, 1], [1, 1])
    await expect(optimizer.step({ maxGradNorm: 1 })).rejects.toThrow(`AdamW.step: gradient norm must be finite, got ${bad} after 1 steps`)
    expect([await numbersOf(matrix.value), await Promise.all(Array.from(optimizer.state().tensors.values(), numbersOf))]).toEqual(before)
    expect(optimizer.stepsTaken).toBe(1)
  })

  test('keeps no memory beyond the moments', async () => {
    const optimizer = new AdamW(parameters())
    setGradients([1, 1, 1, 1], [1, 1])
    const before = backend.memory().bytes
    await optimizer.step({ maxGradNorm: 1 })
    expect(backend.memory().bytes).toBe(before)
    const own = [...optimizer.state().tensors.values()].length
    expect(own).toBe(4)
    optimizer.dispose()
    expect(backend.memory().bytes).toBeLessThan(before)
  })
})

describe('state', () => {
  test('stored and loaded continues bit for bit', async () => {
    const f32 = createReferenceBackend({ precision: 'f32' })
    const f32Tape = new Tape(f32)
    const weight = f32Tape.parameter(f32.tensor([1, -2, 3, 4], [2, 2]))
    const optimizer = () => new AdamW(new Map([['weight', weight]]), { lr: 0.1 })
    const step = async (by: AdamW, gradient: readonly number[]) => {
      f32Tape.zeroGrad([weight])
      f32Tape.backward(weight, { seed: f32.tensor(gradient, [2, 2]) })
      await by.step()
      return numbersOf(weight.value)
    }
    const first = optimizer()
    const halfway = await step(first, [1, -2, 3, 4])
    const file = join(folder, 'optimizer.safetensors')
    const { tensors, metadata } = first.state()
    await writeSafetensors(file, tensors, { metadata })
    const continued = await step(first, [3, 1, 1, -2])

    const resume = async (by: AdamW) => {
      f32.kernels.copy(f32.tensor(halfway, [2, 2]), { out: weight.value })
      return step(by, [3, 1, 1, -2])
    }
    const resumed = optimizer()
    const source = await readSafetensors(file)
    await resumed.load(source)
    await source.close()
    expect(await resume(resumed)).toEqual(continued)
    expect(resumed.stepsTaken).toBe(2)
    expect(await resume(optimizer())).not.toEqual(continued)
  })

  const shapes = { 'matrix.exp_avg': [2, 2], 'matrix.exp_avg_sq': [2, 2], 'vector.exp_avg': [2], 'vector.exp_avg_sq': [2] }
  test.each<[string, Record<string, readonly number[]>, Record<string, string>, string]>([
    ['a missing tensor', { 'matrix.exp_avg': [2, 2] }, { step: '3' }, "optimizer state: tensor 'matrix.exp_avg_sq' is missing"],
    ['an unexpected tensor', { ...shapes, other: [1] }, { step: '3' }, "unexpected tensor 'other'"],
    ['a wrong shape', { ...shapes, 'vector.exp_avg': [3] }, { step: '3' }, "tensor 'vector.exp_avg' must be [2], got [3]"],
    ['no step', shapes, {}, "metadata 'step' must be a whole number, got undefined"],
    ['a wrong step', shapes, { step: '1.5' }, `metadata 'step' must be a whole number, got "1.5"`],
  ])('with %s is refused', async (_, stored, metadata, message) => {
    const optimizer = new AdamW(parameters())
    const source = { metadata, shapes: new Map(Object.entries(stored)), readF32: async () => Float32Array.from([9, 9, 9, 9]) }
    await expect(optimizer.load(source)).rejects.toThrow(message)
  })

  test('that fails while it is read leaves the optimizer as it was', async () => {
    const optimizer = new AdamW(parameters())
    const before = backend.memory().bytes
    const readF32 = async (name: string) => {
      if (name === 'vector.exp_avg') throw new Error('disk gone')
      return Float32Array.from([9, 9, 9, 9])
    }
    await expect(optimizer.load({ metadata: { step: '3' }, shapes: new Map(Object.entries(shapes)), readF32 })).rejects.toThrow('disk gone')
    expect(optimizer.stepsTaken).toBe(0)
    expect(await numbersOf(optimizer.state().tensors.get('matrix.exp_avg')!)).toEqual([0, 0, 0, 0])
    expect(backend.memory().bytes).toBe(before)
  })
})

test.each([
  [{ lr: -1 }, 'AdamW: lr must be in [0, '],
  [{ beta1: 1 }, 'beta1 must be in [0, '],
  [{ beta2: Number.NaN }, 'beta2 must be in [0, '],
  [{ eps: 0 }, 'eps must be in ['],
  [{ weightDecay: Number.POSITIVE_INFINITY }, 'weightDecay must be in [0, '],
])('refuses %o', (options, message) => {
  expect(() => new AdamW(parameters(), options)).toThrow(message)
})

test('refuses an empty set of parameters and steps out of range', async () => {
  expect(() => new AdamW(new Map())).toThrow('AdamW: parameters must not be empty')
  const optimizer = new AdamW(parameters())
  await expect(optimizer.step({ lr: Number.NaN })).rejects.toThrow('lr must be in')
  await expect(optimizer.step({ maxGradNorm: 0 })).rejects.toThrow('maxGradNorm must be in')
})
