import { createReferenceBackend } from '@tilegrad/core-math'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import type { Backend } from '@tilegrad/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TinySizes, tinyGpt2, tinyLlama } from './tiny-model'

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
