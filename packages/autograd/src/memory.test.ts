import { createReferenceBackend } from '@tilegrad/core-math'
import { describe, expect, it } from 'vitest'
import { Tape, type Variable } from './index'
import { randomTensor } from './test-inputs'
import { tinyGpt2 } from './tiny-model'

const backend = createReferenceBackend()
const bytesHeld = () => backend.memory().bytes

describe('memory', () => {
  it('after backward holds parameters and gradients, and nothing else', () => {
    const start = bytesHeld()
    const { tape, loss, dispose, parameterBytes } = tinyGpt2(backend)
    expect(bytesHeld()).toBe(start + parameterBytes)
    const result = loss()
    expect(bytesHeld()).toBeGreaterThan(start + parameterBytes + 8)
    tape.backward(result)
    result.dispose()
    expect(bytesHeld()).toBe(start + 2 * parameterBytes)
    dispose()
    expect(bytesHeld()).toBe(start)
  })

  it('of a graph is freed with its last variable, without backward', () => {
    const start = bytesHeld()
    const { loss, dispose, parameterBytes } = tinyGpt2(backend)
    const result = loss()
    result.dispose()
    expect(bytesHeld()).toBe(start + parameterBytes)
    dispose()
    expect(bytesHeld()).toBe(start)
  })

  it('of a very long graph is freed without recursion', () => {
    const start = bytesHeld()
    const tape = new Tape(backend)
    const w = tape.parameter(randomTensor(backend, [1]))
    const last = tape.scope(() => {
      let x: Variable = w
      for (let i = 0; i < 20_000; i++) x = tape.gelu(x)
      return x
    })
    expect(bytesHeld()).toBeGreaterThan(start + 20_000 * 8)
    last.dispose()
    expect(bytesHeld()).toBe(start + 8)
    w.dispose()
  })

  it('of a branch that the loss does not use is freed by its scope', () => {
    const start = bytesHeld()
    const tape = new Tape(backend)
    const w = tape.parameter(randomTensor(backend, [4, 4]))
    const loss = tape.scope(() => {
      tape.gelu(tape.gelu(w))
      return tape.reshape(tape.slice(w, [0, 0], [1, 1]), [])
    })
    expect(bytesHeld()).toBe(start + w.value.shape.length * 8 * 8)
    tape.backward(loss)
    loss.dispose()
    w.dispose()
    expect(bytesHeld()).toBe(start)
  })

  it('of saved tensors is released at their last use, not at the end of backward', () => {
    const tape = new Tape(backend)
    const n = 1000
    const w = tape.parameter(randomTensor(backend, [n]))
    const held: number[] = []
    const probe = (x: Variable) =>
      tape.custom('probe', [x], {
        forward: (_, x) => x,
        backward: (_, dout) => {
          held.push(bytesHeld())
          return [dout]
        },
      })
    const loss = tape.scope(() => {
      let x: Variable = w
      for (let i = 0; i < 5; i++) x = probe(tape.gelu(x))
      return tape.reshape(tape.matmul(tape.reshape(x, [1, n]), tape.constant(randomTensor(backend, [n, 1]))), [])
    })
    tape.backward(loss)
    expect(held).toHaveLength(5)
    // Each gelu saved one input that nothing else holds any more once its backward ran.
    for (let i = 1; i < held.length; i++) expect(held[i]).toBe((held[i - 1] as number) - n * 8)
    loss.dispose()
    w.dispose()
  })

  it('of a residual stream is one gradient, added to in place', () => {
    const tape = new Tape(backend)
    const n = 1000
    const w = tape.parameter(randomTensor(backend, [n]))
    const x = tape.scope(() => {
      let x: Variable = tape.scale(w, 1)
      for (let i = 0; i < 20; i++) x = tape.add(x, tape.scale(x, 0.5))
      return x
    })
    const seed = randomTensor(backend, [n])
    const before = bytesHeld()
    backend.resetPeakMemory()
    tape.backward(x, { seed })
    // The stream's gradient, the branch's, and one that add or scale is making.
    expect(backend.memory().peakBytes - before).toBeLessThanOrEqual(3 * n * 8)
    for (const tensor of [x, w, seed]) tensor.dispose()
  })

  it('of a packed projection is one gradient buffer for all its slices', async () => {
    const tape = new Tape(backend)
    const [rows, parts, width] = [16, 8, 32]
    const w = tape.parameter(randomTensor(backend, [rows, parts * width]))
    const sum = tape.scope(() => {
      const packed = tape.scale(w, 2)
      let sum: Variable = tape.slice(packed, [0, 0], [rows, width])
      for (let i = 1; i < parts; i++) sum = tape.add(sum, tape.slice(packed, [0, i * width], [rows, (i + 1) * width]))
      return sum
    })
    const seed = randomTensor(backend, [rows, width], 3)
    const before = bytesHeld()
    backend.resetPeakMemory()
    tape.backward(sum, { seed })
    const slice = rows * width * 8
    expect(backend.memory().peakBytes - before).toBeLessThanOrEqual(parts * slice + 2 * slice)
    const grad = (await w.grad?.read()) as Float64Array
    const expected = (await seed.read()).map((s) => 2 * s)
    expect(Array.from(grad)).toEqual(Array.from(grad, (_, e) => expected[Math.floor(e / (parts * width)) * width + (e % width)]))
    for (const tensor of [sum, w, seed]) tensor.dispose()
  })

  it('in noGrad is that of the result', () => {
    const { tape, loss, dispose, parameterBytes } = tinyGpt2(backend)
    const before = bytesHeld()
    const result = tape.noGrad(() => loss())
    expect(result.requiresGrad).toBe(false)
    expect(bytesHeld()).toBe(before + 8)
    expect(before).toBeGreaterThanOrEqual(parameterBytes)
    result.dispose()
    dispose()
  })

  it('in a scope of the backend is kept for backward too', async () => {
    const { tape, parameters, loss, grads, dispose, parameterBytes } = tinyGpt2(backend)
    const start = bytesHeld()
    const direct = loss()
    tape.backward(direct)
    const expected = await grads()
    tape.zeroGrad(parameters)
    direct.dispose()
    expect(bytesHeld()).toBe(start)
    const scoped = backend.scope(() => loss())
    backend.scope(() => tape.backward(scoped))
    expect(await grads()).toEqual(expected)
    scoped.dispose()
    expect(bytesHeld()).toBe(start + parameterBytes)
    dispose()
  })

  it('of what nested scopes return is freed by the outer one', () => {
    const tape = new Tape(backend)
    const w = tape.parameter(randomTensor(backend, [10]))
    const start = bytesHeld()
    tape.scope(() => {
      tape.scope(() => tape.gelu(tape.gelu(w)))
    })
    expect(bytesHeld()).toBe(start)
    w.dispose()
  })

  it('inside operations is freed by them, in a scope or not', () => {
    const tape = new Tape(backend)
    const variable = (shape: number[]) => tape.parameter(randomTensor(backend, shape))
    const [x, w, c, q] = [variable([4, 6]), variable([6, 6]), variable([6]), variable([1, 4, 2, 3])]
    const targets = backend.tensor(Int32Array.of(0, 1, 2, 3), [4])
    const start = bytesHeld()
    const operations = [
      () => tape.attention(q, q, q, { causal: true }),
      () => tape.matmul(x, w, { bias: c, activation: 'gelu' }),
      () => tape.layerNorm(x, c, c),
      () => tape.rmsNorm(x, c),
      () => tape.crossEntropy(x, targets),
      () => tape.linearCrossEntropy(x, w, targets),
    ]
    for (const operation of operations) {
      const recorded = operation()
      recorded.dispose()
      expect(bytesHeld()).toBe(start)
      const quiet = tape.noGrad(operation)
      expect(bytesHeld()).toBe(start + 8 * quiet.shape.reduce((n, s) => n * s, 1))
      quiet.dispose()
    }
    for (const tensor of [x, w, c, q, targets]) tensor.dispose()
  })
})
