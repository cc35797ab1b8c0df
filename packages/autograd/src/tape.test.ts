import { createReferenceBackend } from '@tilegrad/core-math'
import { describe, expect, it } from 'vitest'
import { Tape, type Variable } from './index'
import { randomTensor } from './test-inputs'
import { tinyGpt2 } from './tiny-model'

const backend = createReferenceBackend()

describe('accumulation', () => {
  it('adds the gradients of several backward calls in place, until zeroGrad', async () => {
    const tape = new Tape(backend)
    const w = tape.parameter(backend.tensor([1, 2, 3, 4], [2, 2]))
    const x = tape.constant(backend.tensor([1, 2, 3, 5, 7, 11], [3, 2]))
    const seed = backend.tensor([1, 0, -2, 3, 1, 1], [3, 2])
    const step = () => {
      const y = tape.matmul(x, w)
      tape.backward(y, { seed })
      y.dispose()
    }
    // xᵀ·seed, in whole numbers and so exact
    const once = [1 * 1 + 3 * -2 + 7 * 1, 1 * 0 + 3 * 3 + 7 * 1, 2 * 1 + 5 * -2 + 11 * 1, 2 * 0 + 5 * 3 + 11 * 1]
    step()
    const buffer = w.grad
    expect(Array.from((await w.grad?.read()) ?? [])).toEqual(once)
    step()
    step()
    expect(Array.from((await w.grad?.read()) ?? [])).toEqual(once.map((g) => 3 * g))
    expect(w.grad).toBe(buffer)
    tape.zeroGrad([w])
    expect(w.grad).toBeUndefined()
    expect(buffer?.disposed).toBe(true)
    step()
    expect(Array.from((await w.grad?.read()) ?? [])).toEqual(once)
    for (const tensor of [w, x, seed]) tensor.dispose()
  })

  it('is bit-identical from run to run', async () => {
    const run = async () => {
      const { tape, loss, grads, dispose } = tinyGpt2(backend)
      const result = loss()
      tape.backward(result)
      const all = await grads()
      result.dispose()
      dispose()
      return all
    }
    expect(await run()).toEqual(await run())
  })

  it('starts from a seed, and leaves the seed alone', async () => {
    const tape = new Tape(backend)
    const [a, b] = [tape.parameter(randomTensor(backend, [2, 3], 1)), tape.parameter(randomTensor(backend, [2, 3], 2))]
    const seed = randomTensor(backend, [2, 3], 3)
    const before = await seed.read()
    const sum = tape.scope(() => tape.add(tape.scale(a, 2), b))
    tape.backward(sum, { seed })
    expect(await seed.read()).toEqual(before)
    expect(await b.grad?.read()).toEqual(before)
    expect(await a.grad?.read()).toEqual(before.map((x) => 2 * x))
    expect(seed.disposed).toBe(false)
    // Gradients of two parameters never share memory, even where they are equal.
    backend.kernels.scale(b.grad as NonNullable<typeof b.grad>, 5, { out: b.grad as NonNullable<typeof b.grad> })
    expect(await a.grad?.read()).toEqual(before.map((x) => 2 * x))
    expect(await seed.read()).toEqual(before)
    for (const tensor of [sum, a, b, seed]) tensor.dispose()
  })

  it('gives two parameters of one sum gradients of their own', async () => {
    const tape = new Tape(backend)
    const [a, b] = [tape.parameter(randomTensor(backend, [3], 1)), tape.parameter(randomTensor(backend, [3], 2))]
    const seed = randomTensor(backend, [3], 3)
    const sum = tape.add(a, b)
    tape.backward(sum, { seed })
    const gradA = a.grad as NonNullable<typeof a.grad>
    backend.kernels.scale(gradA, 3, { out: gradA })
    expect(await b.grad?.read()).toEqual(await seed.read())
    for (const tensor of [sum, a, b, seed]) tensor.dispose()
  })

  it('of a parameter itself as the loss', async () => {
    const tape = new Tape(backend)
    const w = tape.parameter(backend.tensor([3], [1]))
    tape.backward(w)
    tape.backward(w)
    expect(Array.from((await w.grad?.read()) ?? [])).toEqual([2])
    w.dispose()
  })

  it('makes a new gradient where the caller disposed the old one', async () => {
    const tape = new Tape(backend)
    const w = tape.parameter(backend.tensor([3], [1]))
    tape.backward(w)
    w.grad?.dispose()
    expect(w.grad).toBeUndefined()
    tape.backward(w)
    expect(Array.from((await w.grad?.read()) ?? [])).toEqual([1])
    w.dispose()
  })

  it('keeps what a caller wrote into the gradient of a sliced parameter', async () => {
    const tape = new Tape(backend)
    const w = tape.parameter(backend.tensor([1, 2, 3], [3]))
    const run = (from: number) => {
      const loss = tape.reshape(tape.slice(w, [from], [from + 1]), [])
      tape.backward(loss)
      loss.dispose()
    }
    run(0)
    const grad = w.grad as NonNullable<typeof w.grad>
    backend.kernels.copy(
      backend.scope(() => backend.tensor([7, 7, 7], [3])),
      { out: grad },
    )
    run(2)
    expect(Array.from((await w.grad?.read()) ?? [])).toEqual([7, 7, 8])
    w.dispose()
  })

  it('of a cast keeps the parameter in its own type', async () => {
    const tape = new Tape(backend)
    const w = tape.parameter(backend.tensor([1, 2, 3], [3]))
    const half = tape.cast(w, 'bf16')
    expect(half.dtype).toBe('bf16')
    const seed = backend.kernels.cast(backend.tensor([0.5, -2, 4], [3]), 'bf16')
    tape.backward(half, { seed })
    expect(w.grad?.dtype).toBe('f32')
    expect(Array.from((await w.grad?.read()) ?? [])).toEqual([0.5, -2, 4])
    for (const tensor of [half, w, seed]) tensor.dispose()
  })

  it('through bfloat16 operations is what their kernels give, one after the other', async () => {
    const { kernels } = backend
    const tape = new Tape(backend)
    const [w, b] = [tape.parameter(randomTensor(backend, [3, 4], 1)), tape.parameter(kernels.cast(randomTensor(backend, [4], 2), 'bf16'))]
    const x = tape.constant(kernels.cast(randomTensor(backend, [5, 3], 3), 'bf16'))
    const targets = backend.tensor(Int32Array.of(0, 3, 1, 2, 2), [5])
    const loss = tape.scope(() => {
      const logits = tape.matmul(x, tape.cast(w, 'bf16'), { bias: b, activation: 'gelu' })
      return tape.crossEntropy(logits, targets)
    })
    expect(loss.dtype).toBe('f32')
    tape.backward(loss)

    const half = kernels.cast(w.value, 'bf16')
    const preActivation = backend.empty([5, 4], 'bf16')
    const logits = kernels.matmul(x.value, half, { bias: b.value, activation: 'gelu', preActivation })
    const { lse } = kernels.crossEntropyForward(logits, targets)
    const dlogits = kernels.crossEntropyBackward(backend.tensor([1], []), logits, targets, lse)
    const dz = kernels.geluBackward(dlogits, preActivation)
    const dw = kernels.cast(kernels.matmul(x.value, dz, { transposeA: true }), 'f32')
    expect(w.grad?.dtype).toBe('f32')
    expect(await w.grad?.read()).toEqual(await dw.read())
    expect(b.grad?.dtype).toBe('bf16')
    expect(await b.grad?.read()).toEqual(await kernels.sumRows(dz).read())
  })

  it('gives a parameter that is the loss a gradient apart from the seed', async () => {
    const tape = new Tape(backend)
    const w = tape.parameter(backend.tensor([3, 4], [2]))
    const seed = backend.tensor([1, 2], [2])
    tape.backward(w, { seed })
    const grad = w.grad as NonNullable<typeof w.grad>
    backend.kernels.scale(grad, 5, { out: grad })
    expect(Array.from(await seed.read())).toEqual([1, 2])
    for (const tensor of [w, seed]) tensor.dispose()
  })

  it('gives contiguous gradients to parameters that are read through views', async () => {
    const tape = new Tape(backend)
    const w = tape.parameter(randomTensor(backend, [2, 3, 4]))
    const seed = randomTensor(backend, [3, 2, 4], 2)
    const expected = Array.from(await seed.permute([1, 0, 2]).read())
    for (const times of [1, 2]) {
      const view = tape.scope(() => tape.scale(tape.permute(w, [1, 0, 2]), 1))
      tape.backward(view, { seed })
      view.dispose()
      expect(w.grad?.strides).toEqual([12, 4, 1])
      expect(Array.from((await w.grad?.read()) ?? [])).toEqual(expected.map((s) => times * s))
    }
    for (const tensor of [w, seed]) tensor.dispose()
  })

  it('asks attention for the gradients that are wanted, of q, k and v alone where options are tensors', () => {
    const spied = createReferenceBackend()
    const asked: unknown[] = []
    const { attentionBackward } = spied.kernels
    spied.kernels.attentionBackward = (...args) => {
      asked.push(args[6]?.optionGradients)
      return attentionBackward(...args)
    }
    const tape = new Tape(spied)
    const q = tape.parameter(randomTensor(spied, [1, 3, 2, 2]))
    const slopes = tape.parameter(randomTensor(spied, [2], 2))
    const sink = randomTensor(spied, [2], 3)
    const bias = tape.constant(randomTensor(spied, [3, 3], 4))
    const seed = spied.zeros([1, 3, 2, 2])
    const held = spied.memory().bytes
    for (const options of [
      { sink, bias },
      { sink, bias, alibiSlopes: slopes },
    ]) {
      const out = tape.attention(q, q, q, options)
      tape.backward(out, { seed })
      out.dispose()
      tape.zeroGrad([q, slopes])
    }
    expect(asked).toEqual([[], ['alibiSlopes']])
    expect(spied.memory().bytes).toBe(held)
  })

  it('sums slices that overlap, and a whole between slices', async () => {
    const tape = new Tape(backend)
    const w = tape.parameter(backend.tensor([0, 0, 0, 0], [2, 2]))
    const backward = (make: () => Variable, seed: number[]) => {
      const out = tape.scope(make)
      tape.backward(out, { seed: backend.tensor(seed, out.shape) })
      out.dispose()
    }
    const overlapping = () => {
      const x = tape.scale(w, 1)
      return tape.add(tape.slice(x, [0, 0], [2, 1]), tape.slice(x, [0, 0], [2, 1]))
    }
    backward(overlapping, [1, 2])
    expect(Array.from((await w.grad?.read()) ?? [])).toEqual([2, 0, 4, 0])
    tape.zeroGrad([w])
    const between = () => {
      const x = tape.scale(w, 1)
      const right = tape.slice(x, [0, 1], [2, 2])
      const whole = tape.slice(tape.scale(x, 10), [0, 1], [2, 2])
      const left = tape.slice(x, [0, 0], [2, 1])
      return tape.add(tape.add(right, whole), left)
    }
    backward(between, [1, 2])
    expect(Array.from((await w.grad?.read()) ?? [])).toEqual([1, 11, 2, 22])
    w.dispose()
  })
})
