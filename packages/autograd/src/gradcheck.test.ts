import { ArgumentError, type Tensor } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import { GradcheckError, gradcheck, type Tape, type Variable } from './index'
import { input } from './test-inputs'

/** gelu whose gradient goes through `change`. */
const altered = (change: (tensor: Tensor) => Tensor) => (tape: Tape, x: Variable) =>
  tape.custom('altered', [x], {
    forward: ({ backend, save }, x) => {
      save(x as Tensor)
      return backend.kernels.geluForward(x as Tensor)
    },
    backward: ({ backend, saved }, dout) => [change(backend.kernels.geluBackward(dout, saved[0] as Tensor))],
  })

describe('gradcheck', () => {
  it('passes a right gradient, and tells how sharp it was', async () => {
    const result = await gradcheck(
      altered((g) => g),
      [input([2, 5])],
    )
    expect(result.elements).toBe(10)
    expect(result.worst.error).toBeLessThanOrEqual(result.worst.tolerance)
    expect(result.maxTolerance).toBeGreaterThan(0)
    // Far below what a float32 could resolve of gradients near 1.
    expect(result.maxTolerance).toBeLessThan(2 ** -24)
  })

  it('refuses a gradient that is off by less than float32 resolves', async () => {
    const wrong = altered((g) => g.backend.kernels.scale(g, 1 + 2 ** -24))
    await expect(gradcheck(wrong, [input([2, 5])])).rejects.toThrow(GradcheckError)
  })

  it('names the worst element', async () => {
    const wrong = altered((g) => {
      const changed = g.backend.kernels.copy(g)
      const one = changed.slice([1, 3], [2, 4])
      g.backend.kernels.copy(g.backend.tensor([0.25], [1, 1]), { out: one })
      return changed
    })
    const error = await gradcheck((tape, a, b) => tape.add(a, wrong(tape, b)), [input([2, 5], 1), input([2, 5], 2)]).catch((e) => e)
    expect(error).toBeInstanceOf(GradcheckError)
    expect(error.element).toMatchObject({ input: 1, index: [1, 3] })
    expect(error.message).toMatch(/^gradcheck: expected gradient .* ± .* of input 1 at \[1, 3\], got .* from backward$/)
  })

  it.each([
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
  ])('refuses %s', async (_, value) => {
    const wrong = altered((g) => g.backend.tensor(Array(5).fill(value), [5]))
    await expect(gradcheck(wrong, [input([5])])).rejects.toThrow(GradcheckError)
  })

  it('refuses a missing gradient, and takes one for a variable that is not used', async () => {
    const cut = (tape: Tape, x: Variable) =>
      tape.add(
        x,
        tape.custom('cut', [x], { forward: ({ backend }, x) => backend.kernels.scale(x as Tensor, 2), backward: () => [undefined] }),
      )
    await expect(gradcheck(cut, [input([3])])).rejects.toThrow(GradcheckError)
    await expect(gradcheck((tape, x) => tape.gelu(x), [input([3]), input([2], 2)])).resolves.toMatchObject({ elements: 5 })
  })

  it('refuses a jump, where no gradient is right', async () => {
    const step = (tape: Tape, x: Variable) =>
      tape.custom('step', [x], {
        forward: ({ backend }, x) => backend.kernels.softmaxForward(backend.kernels.scale(x as Tensor, 1e30)),
        backward: ({ backend }, dout) => [backend.zeros(dout.shape)],
      })
    await expect(gradcheck(step, [{ shape: [1, 2], data: [1, 1] }])).rejects.toThrow(GradcheckError)
  })

  it('shrinks the step for a function that bends within it', async () => {
    const sharp = (tape: Tape, x: Variable) => tape.softmax(tape.scale(x, 400))
    const { maxTolerance } = await gradcheck(sharp, [{ shape: [1, 3], data: [0.01, 0.012, 0.009] }])
    expect(maxTolerance).toBeLessThan(2 ** -24 * 400)
  })

  it('reads one-element and empty-shape losses, and checks its arguments', async () => {
    await gradcheck((tape, x) => tape.reshape(tape.matmul(x, x, { transposeB: true }), []), [input([1, 3])])
    await expect(gradcheck((tape, x) => tape.gelu(x), [input([3])], { eps: 0 })).rejects.toThrow(ArgumentError)
    await expect(gradcheck((tape) => tape.constant(tape.backend.zeros([])), [])).rejects.toThrow()
  })
})
