import { createReferenceBackend } from '@tilegrad/core-math'
import type { Tensor } from '@tilegrad/tensor'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { gradcheck, Tape, type Variable } from './index'
import { input, randomTensor } from './test-inputs'

const shape = [2, 4]

/** Operations on variables of one shape that pass gradients on in every way there is: shared, viewed, in regions, in place, copied. */
const operations: Record<string, (tape: Tape, a: Variable, b: Variable) => Variable> = {
  add: (tape, a, b) => tape.add(a, b),
  scale: (tape, a) => tape.scale(a, -0.75),
  gelu: (tape, a) => tape.gelu(a),
  swiglu: (tape, a, b) => tape.swiglu(a, b),
  softmax: (tape, a) => tape.softmax(a, { scale: 2 }),
  matmul: (tape, a, b) => tape.matmul(tape.matmul(a, b, { transposeB: true, alpha: 0.25 }), a),
  reshape: (tape, a) => tape.reshape(tape.copy(tape.reshape(a, [4, 2])), shape),
  permute: (tape, a) => tape.copy(tape.permute(tape.copy(tape.permute(a, [1, 0])), [1, 0])),
  slices: (tape, a, b) => tape.matmul(tape.swiglu(tape.slice(a, [0, 0], [2, 2]), tape.slice(b, [0, 1], [2, 3])), a, { alpha: 0.5 }),
  rows: (tape, a, b) =>
    tape.matmul(a, tape.matmul(tape.slice(b, [0], [1]), tape.slice(a, [1], [2]), { transposeA: true }), { alpha: 0.25 }),
  custom: (tape, a, b) =>
    tape.custom('pass', [a, b], {
      forward: ({ backend }, a, b) => backend.kernels.add(a as Tensor, b as Tensor),
      backward: (_, dout) => [dout, dout],
    }),
  checkpoint: (tape, a, b) => tape.checkpoint((a) => tape.add(tape.gelu(a), tape.scale(b, 0.5)), a),
  checkpointedIdentity: (tape, a) => tape.checkpoint((a) => a, a),
}

const graphs = fc.array(fc.record({ op: fc.constantFrom(...Object.keys(operations)), a: fc.nat(20), b: fc.nat(20) }), {
  minLength: 1,
  maxLength: 10,
})

/** Each step reads two of the variables so far; the result is the sum of the last ones, so that few steps are dead. */
function build(tape: Tape, steps: { op: string; a: number; b: number }[], inputs: Variable[]): Variable {
  const pool = [...inputs]
  for (const { op, a, b } of steps) {
    const at = (i: number) => pool[pool.length - 1 - (i % pool.length)] as Variable
    pool.push(operations[op]?.(tape, at(a), at(b)) as Variable)
  }
  return pool.slice(-3).reduce((sum, x) => tape.add(sum, x))
}

it('random graphs pass gradcheck', async () => {
  await fc.assert(
    fc.asyncProperty(graphs, async (steps) => {
      await gradcheck((tape, x, y) => build(tape, steps, [x, y]), [input(shape, 1), input(shape, 2)])
    }),
    { seed: 1, numRuns: 40 },
  )
})

it('random graphs free all they held, with backward or without', () => {
  fc.assert(
    fc.property(graphs, fc.boolean(), (steps, differentiate) => {
      const backend = createReferenceBackend()
      const tape = new Tape(backend)
      const parameters = [tape.parameter(randomTensor(backend, shape, 1)), tape.parameter(randomTensor(backend, shape, 2))]
      const start = backend.memory().bytes
      const out = tape.scope(() => build(tape, steps, parameters))
      if (differentiate) backend.scope(() => tape.backward(out, { seed: randomTensor(backend, shape, 3) }))
      out.dispose()
      tape.zeroGrad(parameters)
      expect(backend.memory().bytes).toBe(start)
    }),
    { seed: 2, numRuns: 200 },
  )
})
