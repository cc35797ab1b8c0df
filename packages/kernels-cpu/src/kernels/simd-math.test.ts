import { describe, expect, test } from 'vitest'
import { createBackend } from '../create'
import { allIsas } from '../isas.testing'

/** Floats in [low, high] whose bit patterns are evenly spaced, so that every exponent is swept, and the ends. */
function sweep(low: number, high: number): Float32Array {
  const bits = new Uint32Array(1)
  const float = new Float32Array(bits.buffer)
  const values = [low, high]
  for (let pattern = 0; pattern < 2 ** 32; pattern += 9973) {
    bits[0] = pattern
    const value = float[0] as number
    if (value >= low && value <= high) values.push(value)
  }
  return Float32Array.from(values)
}

/** Distance of neighbouring float32 at |x|, for normal x. */
function ulp(x: number): number {
  return 2 ** (Math.floor(Math.log2(Math.abs(x))) - 23)
}

const smallestNormal = 2 ** -126

// The bounds are those that native/simd-inl.h promises.
const functions = [
  { name: 'exp2', index: 0, exact: (x: number) => 2 ** x, low: -126, high: 127, ulps: 1.5 },
  { name: 'exp', index: 1, exact: Math.exp, low: -87.3, high: 88.72, ulps: 2 },
  { name: 'tanh', index: 2, exact: Math.tanh, low: -1e30, high: 1e30, ulps: 3 },
  { name: 'log', index: 3, exact: Math.log, low: 1e-45, high: 3.4e38, ulps: 2 },
  { name: 'sqrt', index: 4, exact: Math.sqrt, low: 0, high: 3.4e38, ulps: 0.5 },
]

describe.each(allIsas)('$isa', ({ runtime, isa }) => {
  const create = () => createBackend({ runtime, threads: 1 }, isa)

  async function evaluate(index: number, x: Float32Array): Promise<Float32Array> {
    const backend = await create()
    const input = backend.tensor(x, [x.length])
    const out = backend.empty([x.length])
    backend.context.run('simd_check', index, backend.context.address(input), backend.context.address(out), x.length)
    const result = (await out.read()) as Float32Array
    await backend.dispose()
    return result
  }

  test.each(functions)('$name is within $ulps ulp over its whole range', async ({ index, exact, low, high, ulps }) => {
    const x = sweep(low, high)
    const y = await evaluate(index, x)
    let worst = { ulps: 0, x: 0, y: 0 }
    x.forEach((value, i) => {
      const expected = exact(value)
      if (Math.abs(expected) < smallestNormal) return
      const error = Math.abs((y[i] as number) - expected) / ulp(expected)
      if (!(error <= worst.ulps)) worst = { ulps: error, x: value, y: y[i] as number }
    })
    expect(worst.ulps, JSON.stringify(worst)).toBeLessThanOrEqual(ulps)
  })

  test('ends, zeros and NaN', async () => {
    const x = Float32Array.of(Number.NEGATIVE_INFINITY, -1e30, -200, 0, Number.NaN)
    expect([...(await evaluate(0, x))]).toEqual([0, 0, 0, 1, Number.NaN])
    expect([...(await evaluate(1, x))]).toEqual([0, 0, 0, 1, Number.NaN])
    expect([...(await evaluate(2, x))]).toEqual([-1, -1, -1, 0, Number.NaN])
  })
})
