import { createReferenceBackend } from '@tilegrad/core-math'
import { ArgumentError, BackendMismatchError, DisposedError, DTypeError, ShapeError, TilegradError } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import {
  BackwardTwiceError,
  NoGradientError,
  NonScalarLossError,
  SavedTensorModifiedError,
  Tape,
  TapeMismatchError,
  type Variable,
} from './index'
import { randomTensor } from './test-inputs'

const backend = createReferenceBackend()
const bytesHeld = () => backend.memory().bytes

/** A one-layer model: parameters, and a loss over tokens that uses most operations. */
function model() {
  const tape = new Tape(backend)
  const [B, T, C, V] = [2, 4, 4, 5]
  const parameter = (shape: number[], seed: number, name: string) => tape.parameter(randomTensor(backend, shape, seed), { name })
  const wte = parameter([V, C], 1, 'wte')
  const ln = parameter([C], 2, 'ln')
  const lnBias = parameter([C], 3, 'lnBias')
  const qkvWeight = parameter([C, 3 * C], 4, 'qkv')
  const qkvBias = parameter([3 * C], 5, 'qkvBias')
  const mlp = parameter([C, C], 6, 'mlp')
  const parameters = [wte, ln, lnBias, qkvWeight, qkvBias, mlp]
  const block = (x: Variable) => {
    const qkv = tape.matmul(tape.layerNorm(x, ln, lnBias), qkvWeight, { bias: qkvBias })
    const [q, k, v] = [0, 1, 2].map((i) => tape.reshape(tape.slice(qkv, [0, 0, i * C], [B, T, (i + 1) * C]), [B, T, 2, C / 2])) as [
      Variable,
      Variable,
      Variable,
    ]
    const attended = tape.add(x, tape.reshape(tape.attention(q, k, v, { causal: true }), [B, T, C]))
    return tape.add(attended, tape.matmul(attended, mlp, { activation: 'gelu' }))
  }
  const loss = (run: (x: Variable) => Variable = (x) => block(block(x))) =>
    tape.scope(() => {
      const tokens = backend.tensor(Int32Array.from([1, 0, 3, 1, 2, 4, 4, 0]), [B, T])
      const targets = backend.tensor(Int32Array.from([0, 3, 1, 2, 4, 4, 0, 1]), [B * T])
      const x = tape.embedding(tokens, wte)
      return tape.linearCrossEntropy(tape.reshape(run(x), [B * T, C]), wte, targets)
    })
  const grads = () => Promise.all(parameters.map(async ({ grad }) => Array.from((await grad?.read()) ?? [])))
  const dispose = () => {
    for (const parameter of parameters) parameter.dispose()
  }
  const parameterBytes = parameters.reduce((bytes, { shape }) => bytes + 8 * shape.reduce((n, s) => n * s, 1), 0)
  return { tape, parameters, block, loss, grads, dispose, parameterBytes }
}

describe('memory', () => {
  it('after backward holds parameters and gradients, and nothing else', () => {
    const start = bytesHeld()
    const { tape, loss, dispose, parameterBytes } = model()
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
    const { loss, dispose, parameterBytes } = model()
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
    const { tape, loss, dispose, parameterBytes } = model()
    const before = bytesHeld()
    const result = tape.noGrad(() => loss())
    expect(result.requiresGrad).toBe(false)
    expect(bytesHeld()).toBe(before + 8)
    expect(before).toBeGreaterThanOrEqual(parameterBytes)
    result.dispose()
    dispose()
  })

  it('in a scope of the backend is kept for backward too', async () => {
    const { tape, parameters, loss, grads, dispose, parameterBytes } = model()
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
})

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
      const { tape, loss, grads, dispose } = model()
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
})

describe('misuse', () => {
  const scalarGraph = () => {
    const tape = new Tape(backend)
    const w = tape.parameter(randomTensor(backend, [2, 2]), { name: 'w' })
    const square = tape.matmul(w, w)
    const loss = tape.scope(() => tape.reshape(tape.slice(tape.gelu(square), [0, 0], [1, 1]), []))
    return { tape, w, square, loss }
  }

  it('backward twice', async () => {
    const { tape, w, loss } = scalarGraph()
    tape.backward(loss)
    const once = await w.grad?.read()
    expect(() => tape.backward(loss)).toThrow(BackwardTwiceError)
    expect(await w.grad?.read()).toEqual(once)
  })

  it('backward through a part that an earlier backward freed changes no gradient', async () => {
    const { tape, w, square, loss } = scalarGraph()
    const other = tape.scope(() => tape.reshape(tape.slice(tape.scale(square, 2), [0, 0], [1, 1]), []))
    tape.backward(loss)
    const once = await w.grad?.read()
    expect(() => tape.backward(other)).toThrow(/backward: the saved tensors of 'matmul' are already freed/)
    expect(await w.grad?.read()).toEqual(once)
  })

  it('a disposed variable', () => {
    const { tape, w, loss } = scalarGraph()
    const x = tape.constant(randomTensor(backend, [2, 2]))
    x.dispose()
    expect(() => tape.add(w, x)).toThrow(DisposedError)
    expect(() => tape.add(w, x)).toThrow('add: constant [2, 2] is disposed')
    loss.dispose()
    expect(() => tape.backward(loss)).toThrow(DisposedError)
  })

  it('a disposed parameter behind the loss', () => {
    const { tape, w, loss } = scalarGraph()
    w.dispose()
    expect(() => tape.backward(loss)).toThrow(DisposedError)
    expect(() => tape.backward(loss)).toThrow("backward: parameter 'w' is disposed")
  })

  it('a saved tensor modified in place', () => {
    const { tape, w, loss } = scalarGraph()
    backend.kernels.scale(w.value, 2, { out: w.value })
    expect(() => tape.backward(loss)).toThrow(SavedTensorModifiedError)
    expect(() => tape.backward(loss)).toThrow(/'matmul' saved was modified in place, expected version 0, got 1/)
    expect(w.grad).toBeUndefined()
  })

  it('a view of a saved tensor modified in place', () => {
    const { tape, square, loss } = scalarGraph()
    const row = square.value.slice([0], [1])
    backend.kernels.copy(backend.zeros([1, 2]), { out: row })
    expect(() => tape.backward(loss)).toThrow(/'gelu' saved was modified in place/)
  })

  it('several elements without a seed, and a seed that does not fit', () => {
    const { tape, w, square } = scalarGraph()
    expect(() => tape.backward(square)).toThrow(NonScalarLossError)
    expect(() => tape.backward(square)).toThrow(/of one element, got \[2, 2\]/)
    expect(() => tape.backward(square, { seed: backend.zeros([4]) })).toThrow(ShapeError)
    expect(() => tape.backward(square, { seed: createReferenceBackend().zeros([2, 2]) })).toThrow(BackendMismatchError)
    tape.backward(square, { seed: backend.zeros([2, 2]) })
    expect(w.grad).toBeDefined()
  })

  it('a variable of another tape', () => {
    const { tape, w } = scalarGraph()
    const other = new Tape(backend).parameter(randomTensor(backend, [2, 2]), { name: 'foreign' })
    expect(() => tape.add(w, other)).toThrow(TapeMismatchError)
    expect(() => tape.add(w, other)).toThrow(/add: .* got parameter 'foreign' \[2, 2\] of another tape/)
    expect(() => tape.backward(other)).toThrow(TapeMismatchError)
  })

  it('a tensor where a variable belongs', () => {
    const { tape, w } = scalarGraph()
    expect(() => tape.add(w, w.value as unknown as Variable)).toThrow(ArgumentError)
  })

  it('the gradient of what has none', () => {
    const { tape, w, square } = scalarGraph()
    const constant = tape.constant(randomTensor(backend, [1]))
    expect(() => constant.grad).toThrow(NoGradientError)
    expect(() => square.grad).toThrow(/the result of 'matmul' \[2, 2\] has no gradient/)
    expect(() => tape.backward(constant)).toThrow(NoGradientError)
    expect(() => tape.backward(tape.noGrad(() => tape.gelu(w)))).toThrow(NoGradientError)
    expect(() => tape.zeroGrad([constant])).toThrow(NoGradientError)
  })

  it('an integer parameter', () => {
    expect(() => new Tape(backend).parameter(backend.tensor(Int32Array.of(1), [1]))).toThrow(DTypeError)
  })

  it('an asynchronous function, after which recording goes on', () => {
    const { tape, w } = scalarGraph()
    expect(() => tape.noGrad(async () => 1)).toThrow(ArgumentError)
    expect(() => tape.scope(async () => 1)).toThrow(TilegradError)
    expect(tape.gelu(w).requiresGrad).toBe(true)
  })

  it('a function that throws leaves no memory and no mode behind', () => {
    const { tape, w } = scalarGraph()
    const before = bytesHeld()
    const fail = () => {
      tape.gelu(tape.gelu(w))
      throw new Error('stop')
    }
    expect(() => tape.scope(fail)).toThrow('stop')
    expect(() => tape.scope(() => tape.noGrad(fail))).toThrow('stop')
    expect(() => tape.checkpoint(fail, w)).toThrow('stop')
    expect(bytesHeld()).toBe(before)
    expect(tape.recording).toBe(true)
  })

  it('an operation whose backward throws leaves no memory behind', () => {
    const { tape, w } = scalarGraph()
    const before = bytesHeld()
    const loss = tape.scope(() => {
      const broken = tape.custom('broken', [tape.gelu(w)], {
        forward: (_, x) => x,
        backward: () => {
          throw new Error('stop')
        },
      })
      return tape.reshape(tape.slice(tape.gelu(broken), [0, 0], [1, 1]), [])
    })
    expect(() => tape.backward(loss)).toThrow('stop')
    loss.dispose()
    expect(bytesHeld()).toBe(before)
  })
})
