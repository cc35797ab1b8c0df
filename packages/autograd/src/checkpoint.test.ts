import { createReferenceBackend } from '@tilegrad/core-math'
import { DisposedError, ShapeError } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import { gradcheck, SavedTensorModifiedError, Tape, type Variable } from './index'
import { input, randomTensor } from './test-inputs'

const backend = createReferenceBackend()
const bytesHeld = () => backend.memory().bytes

const values = async (variables: readonly Variable[]) =>
  Promise.all(variables.map(async ({ grad }) => Array.from((await grad?.read()) ?? [])))

/** Layers of x + gelu(x·w)·w, each run by `run`; weights come in by closure. */
function layered(run: (tape: Tape, block: (x: Variable) => Variable, x: Variable) => Variable, layers = 4, width = 8) {
  const tape = new Tape(backend)
  const weights = Array.from({ length: layers }, (_, i) => tape.parameter(randomTensor(backend, [width, width], i + 1)))
  const x = tape.parameter(randomTensor(backend, [16, width], 99))
  const seed = randomTensor(backend, [16, width], 100)
  const step = () => {
    const before = bytesHeld()
    backend.resetPeakMemory()
    const out = tape.scope(() =>
      weights.reduce(
        (x, w) => run(tape, (x) => tape.add(x, tape.matmul(tape.gelu(tape.matmul(x, w)), w, { transposeB: true })), x),
        x as Variable,
      ),
    )
    tape.backward(out, { seed })
    out.dispose()
    return { peak: backend.memory().peakBytes - before, bytes: bytesHeld() - before }
  }
  const parameters = [...weights, x]
  const dispose = () => {
    for (const tensor of [...parameters, seed]) tensor.dispose()
  }
  return {
    step,
    parameters,
    dispose,
    parameterBytes: parameters.reduce((n, { shape: [a, b] }) => n + 8 * (a as number) * (b as number), 0),
  }
}

describe('checkpoint', () => {
  it('gives the same gradients bit for bit, with less memory, and frees everything inside', async () => {
    const start = bytesHeld()
    const plain = layered((_, block, x) => block(x))
    const checkpointed = layered((tape, block, x) => tape.checkpoint(block, x))
    const plainMemory = plain.step()
    const checkpointedMemory = checkpointed.step()
    expect(await values(checkpointed.parameters)).toEqual(await values(plain.parameters))
    expect(checkpointedMemory.bytes).toBe(checkpointed.parameterBytes)
    expect(plainMemory.bytes).toBe(plain.parameterBytes)
    // Plain saves two activations a layer beside the stream; a checkpoint saves the stream alone.
    expect(checkpointedMemory.peak).toBeLessThan(plainMemory.peak - 2 * 16 * 8 * 8)
    plain.dispose()
    checkpointed.dispose()
    expect(bytesHeld()).toBe(start)
  })

  it('nests', async () => {
    const plain = layered((_, block, x) => block(block(x)))
    const nested = layered((tape, block, x) => tape.checkpoint((x) => tape.checkpoint(block, tape.checkpoint(block, x)), x))
    plain.step()
    const { bytes } = nested.step()
    expect(await values(nested.parameters)).toEqual(await values(plain.parameters))
    expect(bytes).toBe(nested.parameterBytes)
    plain.dispose()
    nested.dispose()
  })

  it('accumulates over steps', async () => {
    const plain = layered((_, block, x) => block(x))
    const checkpointed = layered((tape, block, x) => tape.checkpoint(block, x))
    for (let i = 0; i < 3; i++) {
      plain.step()
      checkpointed.step()
    }
    expect(await values(checkpointed.parameters)).toEqual(await values(plain.parameters))
    plain.dispose()
    checkpointed.dispose()
  })

  it('reaches intermediate variables and tensors by closure, disposed since', async () => {
    const run = async (wrap: (tape: Tape, fn: (x: Variable) => Variable, x: Variable) => Variable) => {
      const tape = new Tape(backend)
      const [w, u] = [tape.parameter(randomTensor(backend, [3, 3], 1)), tape.parameter(randomTensor(backend, [5, 3], 2))]
      const loss = tape.scope(() => {
        const tokens = backend.tensor(Int32Array.of(4, 0, 1), [3])
        const targets = backend.tensor(Int32Array.of(2, 0, 1), [3])
        const outside = tape.gelu(w)
        const mask = tape.constant(randomTensor(backend, [3, 3], 5))
        const x = tape.scale(w, 3)
        return wrap(
          tape,
          (x) => tape.crossEntropy(tape.add(tape.swiglu(x, outside), tape.add(mask, tape.embedding(tokens, u))), targets),
          x,
        )
      })
      tape.backward(loss)
      const grads = await values([w, u])
      for (const variable of [loss, w, u]) variable.dispose()
      return grads
    }
    const start = bytesHeld()
    const plain = await run((_, fn, x) => fn(x))
    const checkpointed = await run((tape, fn, x) => tape.checkpoint(fn, x))
    const nested = await run((tape, fn, x) => tape.checkpoint((x) => tape.checkpoint(fn, x), x))
    // The sum at w is formed in another order, so equality is to rounding: of three terms, each ≤ 8.
    const close = plain.map((g) => g.map((x) => expect.closeTo(x, 13)))
    expect(checkpointed).toEqual(close)
    expect(nested).toEqual(close)
    expect(bytesHeld()).toBe(start)
  })

  it('passes gradcheck, with inputs that are used again outside', async () => {
    await gradcheck(
      (tape, x, w) => {
        const h = tape.checkpoint((x) => tape.gelu(tape.matmul(x, w)), x)
        const again = tape.checkpoint((h, x) => tape.matmul(tape.add(h, x), w), h, x)
        return tape.add(again, tape.swiglu(x, h))
      },
      [input([2, 3], 1), input([3, 3], 2)],
    )
  })

  it('of the identity, of a view, and of constants', async () => {
    const tape = new Tape(backend)
    const x = tape.parameter(randomTensor(backend, [2, 3]))
    const seed = randomTensor(backend, [2, 3], 2)
    const start = bytesHeld()
    const same = tape.checkpoint((x) => x, x)
    expect(same).not.toBe(x)
    tape.backward(same, { seed })
    same.dispose()
    expect(x.value.disposed).toBe(false)
    const view = tape.checkpoint((x) => tape.reshape(tape.permute(tape.copy(tape.permute(x, [1, 0])), [1, 0]), [2, 3]), x)
    tape.backward(view, { seed })
    view.dispose()
    expect(Array.from((await x.grad?.read()) ?? [])).toEqual(Array.from(await seed.read(), (s) => s + s))
    const constant = tape.constant(randomTensor(backend, [2]))
    const result = tape.checkpoint((c) => tape.gelu(c), constant)
    expect(result.requiresGrad).toBe(false)
    for (const tensor of [constant, result]) tensor.dispose()
    expect(bytesHeld()).toBe(start + 6 * 8)
    for (const tensor of [x, seed]) tensor.dispose()
  })

  it('is freed with its last variable, without backward', () => {
    const tape = new Tape(backend)
    const x = tape.parameter(randomTensor(backend, [20]))
    const start = bytesHeld()
    const out = tape.checkpoint((x) => tape.gelu(tape.gelu(tape.gelu(x))), x)
    expect(bytesHeld()).toBe(start + 20 * 8)
    out.dispose()
    const quiet = tape.noGrad(() => tape.checkpoint((x) => tape.gelu(tape.gelu(x)), x))
    expect(bytesHeld()).toBe(start + 20 * 8)
    quiet.dispose()
    x.dispose()
  })

  it('may make tensors and unused results inside', () => {
    const tape = new Tape(backend)
    const w = tape.parameter(randomTensor(backend, [3, 2]))
    const start = bytesHeld()
    const loss = tape.checkpoint((w) => {
      const tokens = backend.tensor(Int32Array.of(2, 0), [2])
      tape.gelu(tape.gelu(w))
      return tape.crossEntropy(tape.embedding(tokens, w), tokens, { ignoreIndex: 2 })
    }, w)
    tape.backward(loss)
    loss.dispose()
    expect(bytesHeld()).toBe(start + 6 * 8)
    w.dispose()
  })

  it('refuses inputs modified in place, disposed inputs and a function that changes its shape', () => {
    const tape = new Tape(backend)
    const [x, w] = [tape.parameter(randomTensor(backend, [2, 2], 1)), tape.parameter(randomTensor(backend, [2, 2], 2))]
    const out = tape.checkpoint((x) => tape.matmul(x, w), x)
    backend.kernels.scale(w.value, 2, { out: w.value })
    const seed = backend.zeros([2, 2])
    expect(() => tape.backward(out, { seed })).toThrow(SavedTensorModifiedError)
    expect(() => tape.backward(out, { seed })).toThrow(/'checkpoint' saved was modified/)

    let calls = 0
    const changing = tape.checkpoint((x) => (calls++ ? tape.reshape(x, [4]) : tape.gelu(x)), x)
    expect(() => tape.backward(changing, { seed })).toThrow(ShapeError)

    w.dispose()
    expect(() => tape.checkpoint((w) => tape.gelu(w), w)).toThrow(DisposedError)
    for (const tensor of [x, out, changing, seed]) tensor.dispose()
  })
})
