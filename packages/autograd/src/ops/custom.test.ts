import { createReferenceBackend } from '@tilegrad/core-math'
import { ArgumentError, ShapeError, type Tensor } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import { type CustomFunction, gradcheck, SavedTensorModifiedError, Tape } from '../index'
import { input, randomTensor } from '../test-inputs'

const backend = createReferenceBackend()
const bytesHeld = () => backend.memory().bytes

/** gelu(x)·w by kernels, with a temporary in both directions. */
const geluMatmul: CustomFunction = {
  forward(context, x, w) {
    const { kernels } = context.backend
    const activated = kernels.geluForward(x as Tensor)
    context.save(x as Tensor, w as Tensor, activated)
    return kernels.matmul(activated, w as Tensor)
  },
  backward({ backend, saved, needsGrad }, dout) {
    const { kernels } = backend
    const [x, w, activated] = saved as [Tensor, Tensor, Tensor]
    const dactivated = kernels.matmul(dout, w, { transposeB: true })
    return [kernels.geluBackward(dactivated, x), needsGrad(1) ? kernels.matmul(activated, dout, { transposeA: true }) : undefined]
  },
}

describe('custom', () => {
  it('passes gradcheck', async () => {
    const inputs = [input([2, 3], 1), input([3, 4], 2)]
    await gradcheck((tape, x, w) => tape.custom('geluMatmul', [x, w], geluMatmul), inputs)
    await gradcheck((tape, x, w) => tape.checkpoint((x) => tape.custom('geluMatmul', [x, w], geluMatmul), x), inputs)
  })

  it('holds what it saved and nothing else, and frees it', () => {
    const tape = new Tape(backend)
    const [x, w] = [tape.parameter(randomTensor(backend, [2, 3], 1)), tape.constant(randomTensor(backend, [3, 4], 2))]
    const start = bytesHeld()
    const seed = backend.zeros([2, 4])
    const out = tape.custom('geluMatmul', [x, w], geluMatmul)
    expect(bytesHeld()).toBe(start + 8 * (8 + 8 + 6))
    tape.backward(out, { seed })
    for (const tensor of [out, seed]) tensor.dispose()
    expect(bytesHeld()).toBe(start + 8 * 6)
    const quiet = tape.noGrad(() => tape.custom('geluMatmul', [x, w], geluMatmul))
    expect(bytesHeld()).toBe(start + 8 * (6 + 8))
    for (const tensor of [quiet, x, w]) tensor.dispose()
  })

  it('may return dout, a view of it, or what it saved, which stay untouched', async () => {
    const tape = new Tape(backend)
    const [a, b, c] = [1, 2, 3].map((seed) => tape.parameter(randomTensor(backend, [2, 3], seed))) as [never, never, never]
    const seed = randomTensor(backend, [2, 3], 4)
    const [before, savedBefore] = [Array.from(await seed.read()), Array.from(await (c as { value: Tensor }).value.read())]
    const out = tape.scope(() => {
      const passed = tape.custom('aliases', [a, b, c], {
        forward: ({ save }, a, _, c) => {
          save(c as Tensor)
          return a as Tensor
        },
        backward: ({ saved }, dout) => [dout, dout.reshape([6]).reshape([2, 3]), saved[0]],
      })
      // Each gradient is added to another, in place where that is allowed.
      return tape.add(tape.add(tape.add(passed, a), b), c)
    })
    tape.backward(out, { seed })
    const grad = async (v: { grad: Tensor | undefined }) => Array.from((await v.grad?.read()) ?? [])
    expect(await grad(a)).toEqual(before.map((s) => s + s))
    expect(await grad(b)).toEqual(before.map((s) => s + s))
    expect(await grad(c)).toEqual(before.map((s, i) => s + (savedBefore[i] as number)))
    expect(Array.from(await seed.read())).toEqual(before)
    expect(Array.from(await (c as { value: Tensor }).value.read())).toEqual(savedBefore)
  })

  it('gives an identity a handle of its own', async () => {
    const tape = new Tape(backend)
    const x = tape.constant(backend.tensor([1, 2], [2]))
    const same = tape.custom('same', [x], { forward: (_, x) => x as Tensor, backward: (_, dout) => [dout] })
    x.dispose()
    expect(Array.from(await same.value.read())).toEqual([1, 2])
    same.dispose()
  })

  it('counts undefined as zero', async () => {
    const tape = new Tape(backend)
    const [a, b] = [tape.parameter(randomTensor(backend, [2], 1)), tape.parameter(randomTensor(backend, [2], 2))]
    const out = tape.custom('first', [tape.scale(a, 2), b], { forward: (_, a) => a as Tensor, backward: (_, dout) => [undefined, dout] })
    tape.backward(out, { seed: backend.tensor([1, 2], [2]) })
    expect(a.grad).toBeUndefined()
    expect(Array.from((await b.grad?.read()) ?? [])).toEqual([1, 2])
  })

  it('names itself where its backward, or who modified what it saved, is wrong', () => {
    const tape = new Tape(backend)
    const x = tape.parameter(randomTensor(backend, [2, 3]))
    const seed = backend.zeros([2, 3])
    const run = (gradients: (dout: Tensor) => Tensor[]) =>
      tape.custom('mine', [x], {
        forward: ({ save }, x) => {
          save(x as Tensor)
          return x as Tensor
        },
        backward: (_, dout) => gradients(dout),
      })
    expect(() =>
      tape.backward(
        run(() => []),
        { seed },
      ),
    ).toThrow(ArgumentError)
    expect(() =>
      tape.backward(
        run(() => []),
        { seed },
      ),
    ).toThrow('mine: backward must return 1 gradients, one per input, got 0')
    expect(() =>
      tape.backward(
        run((dout) => [dout.reshape([6])]),
        { seed },
      ),
    ).toThrow(ShapeError)
    const out = run((dout) => [dout])
    backend.kernels.scale(x.value, 2, { out: x.value })
    expect(() => tape.backward(out, { seed })).toThrow(SavedTensorModifiedError)
  })
})
