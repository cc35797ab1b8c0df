import { createReferenceBackend } from '@tilegrad/core-math'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import { type Backend, MAX_SAVED_KEYS } from '@tilegrad/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Tape } from './tape'
import { type TinySizes, tinyGpt2, tinyLlama } from './tiny-model'
import type { Variable } from './variable'

const sizes: TinySizes = { B: 2, T: 37, V: 61, H: 4, Hk: 2, D: 16 }
const models = { 'GPT-2': tinyGpt2, Llama: tinyLlama }
type Model = (typeof models)[keyof typeof models]

let cpu: Backend
beforeAll(async () => {
  cpu = await createCpuBackend()
})
afterAll(() => cpu.dispose())

async function lossAndGradients(model: Model, backend: Backend) {
  const { tape, loss, grads, parameters, dispose } = model(backend, sizes)
  const result = loss()
  tape.backward(result)
  const gradients = await grads()
  const names = parameters.map(({ name }) => name)
  result.dispose()
  dispose()
  return { gradients, names }
}

const maxOf = (values: readonly number[]) => values.reduce((max, x) => Math.max(max, Math.abs(x)), 0)
const maxError = (a: readonly number[], b: readonly number[]) => maxOf(a.map((x, i) => x - (b[i] as number)))

describe.each(Object.entries(models))('%s on the CPU backend', (_, model) => {
  it('errs at most 3 times what naive float32 errs, plus one rounding of the largest gradient', async () => {
    const oracle = await lossAndGradients(model, createReferenceBackend())
    const naive = await lossAndGradients(model, createReferenceBackend({ precision: 'f32' }))
    const ours = await lossAndGradients(model, cpu)
    for (const [i, exact] of oracle.gradients.entries()) {
      const limit = 3 * maxError(naive.gradients[i] as number[], exact) + 2 ** -24 * maxOf(exact)
      expect(maxError(ours.gradients[i] as number[], exact), oracle.names[i]).toBeLessThanOrEqual(limit)
      expect(maxOf(exact)).toBeGreaterThan(0)
    }
  })

  it('gives the same bits on every run, and frees everything', async () => {
    const before = cpu.memory().bytes
    const first = await lossAndGradients(model, cpu)
    const second = await lossAndGradients(model, cpu)
    expect(second).toEqual(first)
    await cpu.sync()
    expect(cpu.memory().bytes).toBe(before)
  })
})

describe('attention', () => {
  const [B, H, D] = [2, 3, 16]

  it.each([
    ['short sequences', 40, 4 * B * H * 40 * 40],
    ['sequences longer than MAX_SAVED_KEYS', MAX_SAVED_KEYS + 1, 0],
  ])('of %s saves probabilities where it is recorded, and nowhere else', async (_, seqlen, probabilities) => {
    const tape = new Tape(cpu)
    const data = Float32Array.from({ length: B * seqlen * H * D }, (_, i) => Math.sin(i * i))
    const q = tape.parameter(cpu.tensor(data, [B, seqlen, H, D]))
    const frozen = tape.constant(q.value.slice([0], [B]))
    const peakOf = async (run: () => Variable) => {
      await cpu.sync()
      const before = cpu.memory().bytes
      cpu.resetPeakMemory()
      run().dispose()
      return cpu.memory().peakBytes - before
    }
    const quiet = await peakOf(() => tape.noGrad(() => tape.attention(q, q, q)))
    const recorded = await peakOf(() => tape.attention(q, q, q))
    expect(await peakOf(() => tape.attention(frozen, frozen, frozen))).toBe(quiet)
    // A block of the allocator is up to an eighth larger than what it holds.
    expect(recorded - quiet).toBeGreaterThanOrEqual(probabilities)
    expect(recorded - quiet).toBeLessThanOrEqual(probabilities * 1.125)
    frozen.dispose()
    q.dispose()
  })
})
