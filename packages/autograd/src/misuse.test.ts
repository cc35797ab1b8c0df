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

  it('options of attention', async () => {
    const tape = new Tape(backend)
    const shape = [1, 3, 2, 2]
    const [q, k, v] = [1, 2, 3].map((seed) => tape.parameter(randomTensor(backend, shape, seed))) as [Variable, Variable, Variable]
    const foreign = new Tape(backend).parameter(randomTensor(backend, [2]), { name: 'foreign' })
    expect(() => tape.attention(q, k, v, { sink: foreign })).toThrow(TapeMismatchError)
    expect(() => tape.attention(q, k, v, { sink: tape.parameter(backend.zeros([3])) })).toThrow(
      'attentionForward: sink must be [2], got [3]',
    )
    const packed = [q, k, v].map((x) => tape.reshape(x, [3, 2, 2])) as [Variable, Variable, Variable]
    const lengths = { cuSeqlensQ: Int32Array.of(0, 3), cuSeqlensK: Int32Array.of(0, 3) }
    const bias = tape.parameter(backend.zeros([3, 3]))
    expect(() => tape.attention(...packed, { ...lengths, bias })).toThrow(/bias must be left out with cuSeqlensQ/)
    expect(() => tape.attention(q, k, v, { dropoutP: 0.1 })).toThrow(/seed must be given/)
    const unknown: object = { optionGradients: [] }
    expect(() => tape.attention(q, k, v, unknown)).toThrow(/options must be among/)

    const sink = backend.zeros([2])
    const seed = backend.zeros(shape)
    const out = tape.attention(q, k, v, { sink })
    backend.kernels.scale(sink, 2, { out: sink })
    expect(() => tape.backward(out, { seed })).toThrow(SavedTensorModifiedError)
    sink.dispose()
    expect(() => tape.attention(q, k, v, { sink })).toThrow(DisposedError)
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
