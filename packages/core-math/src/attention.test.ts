import type { AttentionOptions, Tensor } from '@tilegrad/tensor'
import { type AttentionProblem, checkAttentionForward, sequenceOf } from '@tilegrad/tensor'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { attentionBackward } from './attention-backward'
import { attentionBackwardDkdv } from './attention-backward-dkdv'
import { attentionBackwardDq } from './attention-backward-dq'
import { attentionBackwardPreprocess } from './attention-backward-preprocess'
import { attentionForward } from './attention-forward'
import { PhiloxStream } from './philox'
import { createReferenceBackend } from './reference/backend'
import { finiteDifferences } from './reference/finite-differences'

const size = (max: number, min = 0) => fc.integer({ min, max })
const side = fc.oneof(fc.constant(-1), size(12))
const off = fc.constant(undefined)

const optionsArbitrary: fc.Arbitrary<AttentionOptions> = fc
  .record({
    softmaxScale: fc.oneof(off, fc.double({ min: -2, max: 2, noNaN: true })),
    softcap: fc.oneof(off, fc.double({ min: 0.1, max: 5, noNaN: true })),
    causal: fc.boolean(),
    causalAlign: fc.constantFrom('bottom-right', 'top-left'),
    windowSize: fc.oneof(off, fc.tuple(side, side)),
  })
  .map((options) => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)))

/** One key head, the query heads that share it, and how to cut them up. */
const problems = fc.record({
  group: size(3, 1),
  seqlenQ: size(20),
  seqlenK: size(20),
  headDim: size(5, 1),
  headDimV: size(5, 1),
  options: optionsArbitrary,
  blockM: size(9, 1),
  blockN: size(9, 1),
  nSplits: size(4, 1),
  seed: fc.nat(),
})
type Problem = typeof problems extends fc.Arbitrary<infer T> ? T : never

const backend = createReferenceBackend()

/** Rows of head h of contiguous x [1, seqlen, heads, dim]. */
function rowsOf(x: Float64Array, seqlen: number, heads: number, dim: number, h = 0): Float64Array[] {
  return Array.from({ length: seqlen }, (_, i) => x.subarray((i * heads + h) * dim, (i * heads + h + 1) * dim))
}

function draw(problem: Problem) {
  const { group, seqlenQ, seqlenK, headDim, headDimV, seed } = problem
  const random = new PhiloxStream(seed)
  const normals = (n: number) => Float64Array.from({ length: n }, () => 2 * random.nextNormal())
  return {
    q: normals(seqlenQ * group * headDim),
    k: normals(seqlenK * headDim),
    v: normals(seqlenK * headDimV),
    dout: normals(seqlenQ * group * headDimV),
  }
}

const headOf = (problem: AttentionProblem) => ({ ...problem, ...sequenceOf(problem, 0) })

/** Everything by the reference backend, from the whole score matrix. */
async function naive(problem: Problem, data: ReturnType<typeof draw>) {
  const { group, seqlenQ, seqlenK, headDim, headDimV, options } = problem
  const { kernels } = backend
  const q = backend.tensor(data.q, [1, seqlenQ, group, headDim])
  const k = backend.tensor(data.k, [1, seqlenK, 1, headDim])
  const v = backend.tensor(data.v, [1, seqlenK, 1, headDimV])
  const dout = backend.tensor(data.dout, [1, seqlenQ, group, headDimV])
  const { out, lse } = kernels.attentionForward(q, k, v, options)
  const { dq, dk, dv } = kernels.attentionBackward(dout, q, k, v, out, lse, options)
  const read = async (x: Tensor) => (await x.read()) as Float64Array
  const results = { out: await read(out), lse: await read(lse), dq: await read(dq), dk: await read(dk), dv: await read(dv) }
  const head = headOf(checkAttentionForward(backend, q, k, v, options))
  for (const tensor of [q, k, v, dout, out, lse, dq, dk, dv]) tensor.dispose()
  return { head, ...results }
}

/**
 * Both sides are float64 sums of the same terms in other orders: at most some 100 operations deep (20 keys, 5 dims, exp of
 * scores of size 100 with relative error 100·ε), each rounding relative to the largest term of the sum.
 */
function expectClose(got: Iterable<number>, expected: ArrayLike<number>, magnitude: number): void {
  let i = 0
  for (const x of got) {
    const y = expected[i++] as number
    if (x !== y) expect(Math.abs(x - y)).toBeLessThanOrEqual(1e4 * Number.EPSILON * Math.max(1, magnitude))
  }
  expect(i).toBe(expected.length)
}

const largest = (...arrays: Float64Array[]) => arrays.reduce((max, array) => array.reduce((m, x) => Math.max(m, Math.abs(x)), max), 0)
const flat = (rows: readonly Float64Array[]) => rows.flatMap((row) => [...row])

describe('attention in tiles', () => {
  it('forward equals the naive one for any sizes, options, tiles and splits', async () => {
    await fc.assert(
      fc.asyncProperty(problems, async (problem) => {
        const { group, seqlenQ, seqlenK, headDim, headDimV } = problem
        const data = draw(problem)
        const expected = await naive(problem, data)
        const [k, v] = [rowsOf(data.k, seqlenK, 1, headDim), rowsOf(data.v, seqlenK, 1, headDimV)]
        for (let h = 0; h < group; h++) {
          const { out, lse } = attentionForward(rowsOf(data.q, seqlenQ, group, headDim, h), k, v, expected.head, problem)
          expectClose(flat(out), flat(rowsOf(expected.out, seqlenQ, group, headDimV, h)), largest(data.v))
          expectClose(lse, expected.lse.subarray(h * seqlenQ, (h + 1) * seqlenQ), largest(expected.lse.filter(Number.isFinite)))
        }
      }),
      { numRuns: 300, seed: 1 },
    )
  })

  it('backward in one pass and in two equal the naive one', async () => {
    await fc.assert(
      fc.asyncProperty(problems, async (problem) => {
        const { group, seqlenQ, seqlenK, headDim, headDimV } = problem
        const data = draw(problem)
        const expected = await naive(problem, data)
        const [k, v] = [rowsOf(data.k, seqlenK, 1, headDim), rowsOf(data.v, seqlenK, 1, headDimV)]
        const heads = Array.from({ length: group }, (_, h) => {
          const dout = rowsOf(data.dout, seqlenQ, group, headDimV, h)
          return {
            q: rowsOf(data.q, seqlenQ, group, headDim, h),
            dout,
            lse: expected.lse.subarray(h * seqlenQ, (h + 1) * seqlenQ),
            delta: attentionBackwardPreprocess(dout, rowsOf(expected.out, seqlenQ, group, headDimV, h)),
          }
        })
        const magnitude = largest(data.dout) * Math.max(1, largest(data.v)) * largest(data.q, data.k) * group
        const onePass = attentionBackward(heads, k, v, expected.head, problem)
        const { dk, dv } = attentionBackwardDkdv(heads, k, v, expected.head, problem)
        for (const result of [onePass, { dq: heads.map((head) => attentionBackwardDq(head, k, v, expected.head, problem)), dk, dv }]) {
          result.dq.forEach((dq, h) => {
            expectClose(flat(dq), flat(rowsOf(expected.dq, seqlenQ, group, headDim, h)), magnitude)
          })
          expectClose(flat(result.dk), expected.dk, magnitude)
          expectClose(flat(result.dv), expected.dv, magnitude)
        }
      }),
      { numRuns: 300, seed: 2 },
    )
  })

  it('backward agrees with finite differences of forward', () => {
    const sizes = problems.map((p) => ({ ...p, seqlenQ: p.seqlenQ % 7, seqlenK: p.seqlenK % 7, headDim: 2, headDimV: 3, group: 1 }))
    fc.assert(
      fc.property(sizes, (problem) => {
        const { seqlenQ, seqlenK, headDim, headDimV, options } = problem
        const data = draw(problem)
        const [q, k, v, dout] = [
          rowsOf(data.q, seqlenQ, 1, headDim),
          rowsOf(data.k, seqlenK, 1, headDim),
          rowsOf(data.v, seqlenK, 1, headDimV),
          rowsOf(data.dout, seqlenQ, 1, headDimV),
        ]
        const head = backend.scope(() =>
          headOf(
            checkAttentionForward(
              backend,
              backend.empty([1, seqlenQ, 1, headDim]),
              backend.empty([1, seqlenK, 1, headDim]),
              backend.empty([1, seqlenK, 1, headDimV]),
              options,
            ),
          ),
        )
        const { out, lse } = attentionForward(q, k, v, head, problem)
        const delta = attentionBackwardPreprocess(dout, out)
        const { dq, dk, dv } = attentionBackward([{ q, dout, lse, delta }], k, v, head, problem)
        const loss = () => attentionBackwardPreprocess(dout, attentionForward(q, k, v, head, problem).out).reduce((a, b) => a + b, 0)
        for (const [x, gradient] of [
          [data.q, flat(dq[0] as Float64Array[])],
          [data.k, flat(dk)],
          [data.v, flat(dv)],
        ] as const) {
          finiteDifferences(loss, x).forEach(({ value, error }, i) => {
            expect(Math.abs((gradient[i] as number) - value)).toBeLessThanOrEqual(error)
          })
        }
      }),
      { numRuns: 100, seed: 3 },
    )
  })
})
