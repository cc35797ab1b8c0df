import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CpuBackend } from '../backend'
import { createBackend } from '../create'
import { allIsas } from '../isas.testing'

/** One product: sizes, layouts and epilogue, and a seed for its elements. */
interface Case {
  readonly m: number
  readonly n: number
  readonly k: number
  readonly transposeA: boolean
  readonly transposeB: boolean
  /** Elements before each operand in its storage and between its rows: misaligns vectors and widens strides. */
  readonly offset: number
  readonly gap: number
  readonly alpha: number
  readonly mode: 'plain' | 'bias' | 'accumulate'
  readonly seed: number
}

// Around every block edge: tiles of 4, 6 and 12 rows and of 2 vectors of 4, 8 or 16 columns, the thin path up to 4, k blocks of 384.
const size = (max: number) =>
  fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constantFrom(11, 12, 13, 16, 31, 32, 33), fc.integer({ min: 1, max }))
const cases: fc.Arbitrary<Case> = fc.record({
  m: size(70),
  n: size(140),
  k: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(383, 384, 385, 768, 800)),
  transposeA: fc.boolean(),
  transposeB: fc.boolean(),
  offset: fc.integer({ min: 0, max: 3 }),
  gap: fc.integer({ min: 0, max: 5 }),
  alpha: fc.constantFrom(1, -0.375),
  mode: fc.constantFrom('plain', 'bias', 'accumulate'),
  seed: fc.integer(),
})

function randomFloats(seed: number, length: number): Float32Array {
  let state = seed >>> 0
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  })
}

/** A row-major matrix inside a larger buffer of other values. */
function operand(rows: number, columns: number, { offset, gap }: Case, seed: number) {
  const stride = columns + gap
  const data = randomFloats(seed, rows * stride + offset)
  return { data, rows, columns, stride, offset, at: (r: number, c: number) => data[offset + r * stride + c] as number }
}

function problem(c: Case) {
  const a = c.transposeA ? operand(c.k, c.m, c, c.seed) : operand(c.m, c.k, c, c.seed)
  const b = c.transposeB ? operand(c.n, c.k, c, c.seed + 1) : operand(c.k, c.n, c, c.seed + 1)
  const bias = randomFloats(c.seed + 2, c.n)
  const into = randomFloats(c.seed + 3, c.m * c.n)
  return { a, b, bias, into }
}

/** The product in float64, or rounding each operation to float32: the baseline of the error. */
function scalarProduct(c: Case, round: (x: number) => number): Float64Array {
  const { a, b, bias, into } = problem(c)
  const out = new Float64Array(c.m * c.n)
  for (let i = 0; i < c.m; i++) {
    for (let j = 0; j < c.n; j++) {
      let sum = 0
      for (let p = 0; p < c.k; p++)
        sum = round(sum + round((c.transposeA ? a.at(p, i) : a.at(i, p)) * (c.transposeB ? b.at(j, p) : b.at(p, j))))
      sum = round(c.alpha * sum)
      if (c.mode === 'bias') sum = round(sum + (bias[j] as number))
      if (c.mode === 'accumulate') sum = round(sum + (into[i * c.n + j] as number))
      out[i * c.n + j] = sum
    }
  }
  return out
}

async function product(backend: CpuBackend, c: Case): Promise<Float32Array> {
  const { a, b, bias, into } = problem(c)
  const view = ({ data, rows, columns, stride, offset }: typeof a) => {
    const used = backend.tensor(data, [data.length]).slice([offset], [offset + rows * stride])
    return used.reshape([rows, stride]).slice([0, 0], [rows, columns])
  }
  const out = backend.scope(() =>
    backend.kernels.matmul(view(a), view(b), {
      transposeA: c.transposeA,
      transposeB: c.transposeB,
      alpha: c.alpha,
      ...(c.mode === 'bias' ? { bias: backend.tensor(bias, [c.n]) } : {}),
      ...(c.mode === 'accumulate' ? { accumulateInto: backend.tensor(into, [c.m, c.n]) } : {}),
    }),
  )
  const result = (await out.read()) as Float32Array
  out.dispose()
  return result
}

const largest = (values: Float64Array) => values.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
const difference = (x: ArrayLike<number>, y: Float64Array) => largest(y.map((value, i) => (x[i] as number) - value))

describe.each(allIsas)('$isa', ({ runtime, isa }) => {
  const create = (threads: number) => createBackend({ runtime, threads }, isa)
  let one: CpuBackend
  let three: CpuBackend
  beforeAll(async () => {
    one = await create(1)
    three = await create(3)
  })
  afterAll(async () => {
    await one.dispose()
    await three.dispose()
  })

  test('errs no more than twice a float32 loop, at every size, layout and alignment', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (c) => {
        const exact = scalarProduct(c, (x) => x)
        const naive = difference(scalarProduct(c, Math.fround), exact)
        const epsilon = 2 ** -23 * largest(exact)
        expect(difference(await product(one, c), exact)).toBeLessThanOrEqual(2 * naive + epsilon)
      }),
      { seed: 20220527, numRuns: 80 },
    )
  })

  test('every bit is the same for 1 and 3 threads', async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.boolean(), async (c, large) => {
        const sized = large ? { ...c, m: c.m + 200, n: c.n + 300 } : c
        const [x, y] = await Promise.all([product(one, sized), product(three, sized)])
        expect(Buffer.compare(Buffer.from(x.buffer), Buffer.from(y.buffer))).toBe(0)
      }),
      { seed: 20220527, numRuns: 40 },
    )
  })

  test.each([
    [1, 7],
    [9, 3],
    [13, 21],
    [30, 45],
  ])('%d × %d writes its result and nothing around it', async (m, n) => {
    const guard = new Array<number>(64).fill(7)
    const all = one.tensor([...guard, ...new Array<number>(m * n).fill(7), ...guard], [m * n + 128])
    const preActivation = all.slice([64], [64 + m * n]).reshape([m, n])
    one.kernels.matmul(one.zeros([m, 5]), one.zeros([5, n]), { activation: 'gelu', preActivation })
    expect([...(await all.read())]).toEqual([...guard, ...new Array<number>(m * n).fill(0), ...guard])
  })
})
