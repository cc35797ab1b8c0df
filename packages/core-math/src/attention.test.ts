import { checkAttentionBackward, checkAttentionForward, type Tensor } from '@tilegrad/tensor'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { draw, type Problem, problems, size } from './attention.testing'
import { attentionBackward } from './attention-backward'
import { attentionBackwardDkdv } from './attention-backward-dkdv'
import { attentionBackwardDq } from './attention-backward-dq'
import { attentionBackwardPreprocess, attentionBackwardSink } from './attention-backward-preprocess'
import type { QueryHead } from './attention-backward-tile'
import { attentionForward, type ForwardTiles } from './attention-forward'
import { attentionColumnSums, attentionRows, attentionTopK } from './attention-inspection'
import { headProblem } from './attention-problem'
import { PhiloxStream } from './philox'
import { createReferenceBackend } from './reference/backend'
import { finiteDifferences } from './reference/finite-differences'

/** Tiles of any size, of those that kernels have (which divide the mask's 64 and 128, or are multiples of them) and of others. */
const side = fc.oneof(size(9, 1), fc.constantFrom(16, 32, 64, 128), size(90, 1))
const allTiles: fc.Arbitrary<ForwardTiles> = fc.record({ blockM: side, blockN: side, nSplits: size(4, 1) })

const backend = createReferenceBackend()
const { kernels } = backend

type Data = ReturnType<typeof draw>
const read = async (x: Tensor | undefined) => (x ? ((await x.read()) as Float64Array) : new Float64Array(0))

/** Rows [begin, begin + seqlen) of head h of contiguous x [rows, heads, dim]. */
function rowsOf(x: Float64Array, begin: number, seqlen: number, heads: number, dim: number, h: number): Float64Array[] {
  return Array.from({ length: seqlen }, (_, i) => x.subarray(((begin + i) * heads + h) * dim, ((begin + i) * heads + h + 1) * dim))
}

/** Every head of every sequence: its problem and its rows. */
function headsOf(p: Problem, { sizes, data, tensors, options, optionData, visible, score }: Data) {
  const { Hq, Hk, D, Dv, totalQ, lengths, cuSeqlensQ, cuSeqlensK } = sizes
  const problem = checkAttentionForward(backend, ...tensors, options)
  return lengths.flatMap(([seqlenQ, seqlenK], b) => {
    const [beginQ, beginK] = [cuSeqlensQ[b] as number, cuSeqlensK[b] as number]
    return Array.from({ length: Hq }, (_, h) => {
      const hk = Math.floor(h / p.group)
      const lseBegin = p.packed ? h * totalQ + beginQ : (b * Hq + h) * seqlenQ
      return {
        problem: headProblem(problem, b, h, optionData),
        b,
        h,
        hk,
        q: rowsOf(data.q, beginQ, seqlenQ, Hq, D, h),
        k: rowsOf(data.k, beginK, seqlenK, Hk, D, hk),
        v: rowsOf(data.v, beginK, seqlenK, Hk, Dv, hk),
        probabilities: (lse: Float64Array) =>
          Array.from({ length: seqlenQ }, (_, i) =>
            Float64Array.from({ length: seqlenK }, (_, j) => {
              const rowLse = lse[lseBegin + i] as number
              return visible(b, h, i, j) && rowLse > Number.NEGATIVE_INFINITY ? Math.exp(score(b, h, i, j) - rowLse) : 0
            }),
          ),
        lseOf: (lse: Float64Array) => lse.subarray(lseBegin, lseBegin + seqlenQ),
        rowsOfQ: (x: Float64Array, dim: number) => rowsOf(x, beginQ, seqlenQ, Hq, dim, h),
        rowsOfK: (x: Float64Array, dim: number) => rowsOf(x, beginK, seqlenK, Hk, dim, hk),
      }
    })
  })
}
type Head = ReturnType<typeof headsOf>[number]

/**
 * How far two ways to sum the same float64 terms may be apart. A probability errs relatively by the rounding of its score (some operations
 * on terms no larger than maxScore) and of a sum of up to 90 terms; each result is a sum over probabilities of `magnitude` altogether.
 */
function tolerances(p: Problem, { data, optionData, sizes }: Data, dout: Float64Array) {
  const largest = (x: Float64Array = new Float64Array(0)) =>
    x.reduce((max, value) => (Number.isFinite(value) ? Math.max(max, Math.abs(value)) : max), 0)
  const [q, k, v, g] = [data.q, data.k, data.v, dout].map((x) => largest(x)) as [number, number, number, number]
  const { D, Dv, totalQ, Hq } = sizes
  const maxScore = D * q * k + largest(optionData.bias) + 90 * largest(optionData.alibiSlopes) + largest(optionData.sink)
  const kept = 1 - (p.dropoutP ?? 0)
  const dp = (2 * Dv * g * v) / kept
  const rows = totalQ * Hq
  const magnitudes = {
    lse: maxScore + 1,
    out: v / kept,
    dq: dp * k,
    dk: rows * dp * q,
    dv: (rows * g) / kept,
    dbias: rows * dp,
    dsink: rows * dp,
    dalibiSlopes: rows * dp * 90,
  }
  const tolerance = (name: keyof typeof magnitudes) => 8 * (maxScore + 90) * Number.EPSILON * Math.max(Number.MIN_VALUE, magnitudes[name])
  return (name: keyof typeof magnitudes, got: ArrayLike<number>, expected: ArrayLike<number>) => {
    expect(got.length).toBe(expected.length)
    const limit = tolerance(name)
    for (let n = 0; n < got.length; n++) {
      const [x, y] = [got[n] as number, expected[n] as number]
      if (x !== y && !(Math.abs(x - y) <= limit)) expect.fail(`${name}[${n}] is ${x}, not ${y} within ${limit}`)
    }
  }
}

const flat = (rows: readonly ArrayLike<number>[]) => rows.flatMap((row) => Array.from(row))

/** out and dout·everything of the naive backend. */
function reference({ tensors, options, sizes, optionData }: Data, seed: number) {
  const random = new PhiloxStream(seed, 1)
  const { out, lse } = kernels.attentionForward(...tensors, options)
  const doutData = Float64Array.from({ length: sizes.totalQ * sizes.Hq * sizes.Dv }, () => random.nextNormal())
  const dout = backend.tensor(doutData, out.shape)
  const gradients = kernels.attentionBackward(dout, ...tensors, out, lse, options)
  const { optionGradients } = checkAttentionBackward(backend, dout, ...tensors, out, lse, options)
  expect([...optionGradients].sort()).toEqual(Object.keys(optionData).sort())
  return { out, lse, doutData, gradients }
}

/** The ways to the gradients of the query heads of one key head: in one pass and in two, from scores and from the probabilities of the forward pass. */
const WAYS = [
  { passes: 1, saved: false },
  { passes: 2, saved: false },
  { passes: 1, saved: true },
  { passes: 2, saved: true },
] as const

function backward({ passes }: (typeof WAYS)[number], { k, v }: Head, heads: [QueryHead, ...QueryHead[]], tiles: ForwardTiles) {
  if (passes === 1) return attentionBackward(heads, k, v, tiles)
  return { dq: heads.map((head) => attentionBackwardDq(head, k, v, tiles)), ...attentionBackwardDkdv(heads, k, v, tiles) }
}

/** P of a head as its forward pass keeps it, with all keys in one block. */
function savedProbabilities({ q, k, v, problem }: Head, { blockM }: ForwardTiles) {
  const { probabilities } = attentionForward(q, k, v, problem, { blockM, blockN: Math.max(1, problem.seqlenK) }, true)
  return probabilities && { probabilities }
}

describe('attention in tiles', () => {
  it('forward equals the naive one for any sizes, options, tiles and splits, probabilities too', async () => {
    await fc.assert(
      fc.asyncProperty(problems, allTiles, fc.boolean(), async (p, tiles, saveProbabilities) => {
        const data = draw(backend, p)
        const expected = kernels.attentionForward(...data.tensors, data.options)
        const [out, lse] = [await read(expected.out), await read(expected.lse)]
        const expectClose = tolerances(p, data, new Float64Array(0))
        for (const head of headsOf(p, data)) {
          const got = attentionForward(head.q, head.k, head.v, head.problem, tiles, saveProbabilities)
          expectClose('out', flat(got.out), flat(head.rowsOfQ(out, data.sizes.Dv)))
          expectClose('lse', got.lse, head.lseOf(lse))
          expect(got.probabilities !== undefined).toBe(saveProbabilities && head.k.length <= tiles.blockN && p.softcap === null)
          // They are no larger than their rows' sums, 1, as `lse`'s magnitude is no smaller than.
          if (got.probabilities) expectClose('lse', flat(got.probabilities), flat(head.probabilities(lse)))
        }
      }),
      { numRuns: 100, seed: 1 },
    )
  })

  it('backward in one pass and in two, with and without probabilities, equal the naive one', async () => {
    await fc.assert(
      fc.asyncProperty(problems, allTiles, async (p, tiles) => {
        const data = draw(backend, p)
        const { sizes, optionData } = data
        const expected = reference(data, p.seed)
        const [out, lse] = [await read(expected.out), await read(expected.lse)]
        const [dq, dk, dv] = [await read(expected.gradients.dq), await read(expected.gradients.dk), await read(expected.gradients.dv)]
        const expectClose = tolerances(p, data, expected.doutData)
        // Those of the options, in every way.
        const sums = WAYS.map(() => ({
          dalibiSlopes: new Float64Array(optionData.alibiSlopes?.length ?? 0),
          dbias: new Float64Array(optionData.bias?.length ?? 0),
          dsink: new Float64Array(optionData.sink?.length ?? 0),
        }))
        const all = headsOf(p, data)
        for (let first = 0; first < all.length; first += p.group) {
          const group = all.slice(first, first + p.group)
          for (const [w, way] of WAYS.entries()) {
            const { dalibiSlopes, dbias, dsink } = sums[w] as (typeof sums)[number]
            const heads = group.map((head): QueryHead => {
              const dout = head.rowsOfQ(expected.doutData, sizes.Dv)
              return {
                problem: head.problem,
                q: head.q,
                dout,
                lse: head.lseOf(lse),
                delta: attentionBackwardPreprocess(dout, head.rowsOfQ(out, sizes.Dv)),
                ...(way.saved && savedProbabilities(head, tiles)),
                ...(head.problem.bias && { dbias: { ...head.problem.bias, values: dbias } }),
              }
            }) as [QueryHead, ...QueryHead[]]
            const result = backward(way, group[0] as Head, heads, tiles)
            expectClose('dk', flat(result.dk), flat((group[0] as Head).rowsOfK(dk, sizes.D)))
            expectClose('dv', flat(result.dv), flat((group[0] as Head).rowsOfK(dv, sizes.Dv)))
            group.forEach((head, g) => {
              expectClose('dq', flat(result.dq[g] as Float64Array[]), flat(head.rowsOfQ(dq, sizes.D)))
              const { lse, delta } = heads[g] as QueryHead
              const slope = p.alibi === 'head' ? head.h : head.b * sizes.Hq + head.h
              if (p.alibi !== 'none') dalibiSlopes[slope] = (dalibiSlopes[slope] as number) + (result.dalibiSlopes[g] as number)
              if (p.sink) dsink[head.h] = (dsink[head.h] as number) + attentionBackwardSink(head.problem.sink, lse, delta)
            })
          }
        }
        for (const way of sums) {
          for (const name of ['dalibiSlopes', 'dbias', 'dsink'] as const) expectClose(name, way[name], await read(expected.gradients[name]))
        }
      }),
      { numRuns: 100, seed: 2 },
    )
  })

  it('backward agrees with finite differences of forward', () => {
    const small = problems.map((p) => ({
      ...p,
      lengths: p.lengths.slice(0, 1).map(([seqlenQ, seqlenK]) => [seqlenQ % 7, seqlenK % 7] as [number, number]),
      nHeadsK: 1,
      group: 1,
    }))
    fc.assert(
      fc.property(small, allTiles, (p, tiles) => {
        const data = draw(backend, p)
        const head = () => headsOf(p, data)[0] as Head
        const { q, k, v, problem } = head()
        const { out, lse } = attentionForward(q, k, v, problem, tiles)
        const random = new PhiloxStream(p.seed, 1)
        const dout = out.map((row) => row.map(() => random.nextNormal()))
        const loss = () =>
          attentionBackwardPreprocess(dout, attentionForward(q, k, v, head().problem, tiles).out).reduce((a, b) => a + b, 0)
        const delta = attentionBackwardPreprocess(dout, out)
        const dbias = problem.bias && { ...problem.bias, values: new Float64Array(problem.bias.values.length) }
        const { dq, dk, dv, dalibiSlopes } = attentionBackward([{ problem, q, dout, lse, delta, ...(dbias && { dbias }) }], k, v, tiles)
        for (const [x, gradient] of [
          [data.data.q, flat(dq[0] as Float64Array[])],
          [data.data.k, flat(dk)],
          [data.data.v, flat(dv)],
          [data.optionData.alibiSlopes, [...dalibiSlopes]],
          [data.optionData.bias, [...(dbias?.values ?? [])]],
          [data.optionData.sink, [attentionBackwardSink(problem.sink, lse, delta)]],
        ] as const) {
          if (!x) continue
          finiteDifferences(loss, x).forEach(({ value, error }, i) => {
            // Nothing moves a bias of −∞.
            if (x[i] === Number.NEGATIVE_INFINITY) expect(gradient[i]).toBe(0)
            else expect(Math.abs((gradient[i] as number) - value)).toBeLessThanOrEqual(error)
          })
        }
      }),
      { numRuns: 100, seed: 3 },
    )
  })

  it('inspection equals the naive one', async () => {
    await fc.assert(
      fc.asyncProperty(problems, allTiles, size(5, 1), fc.array(fc.nat(), { maxLength: 3 }), async (problem, tiles, topK, picks) => {
        const p = { ...problem, packed: false }
        const data = draw(backend, p)
        const { options, sizes } = data
        const [q, k, v] = data.tensors
        const lse = kernels.attentionForward(q, k, v, options).lse
        const picked = sizes.Sq > 0 ? picks.map((n) => n % sizes.Sq) : []
        const lses = await read(lse)
        const [rows, sums] = [
          await read(kernels.attentionRows(q, k, lse, picked, options)),
          await read(kernels.attentionColumnSums(q, k, lse, options)),
        ]
        const best = kernels.attentionTopK(q, k, lse, topK, options)
        const [probabilities, indices] = [await read(best.probabilities), await best.indices.read()]
        const expectClose = tolerances(p, data, new Float64Array(0))
        for (const head of headsOf(p, data)) {
          const at = head.b * sizes.Hq + head.h
          const headLse = head.lseOf(lses)
          const part = (x: ArrayLike<number>, length: number) => Array.from(x).slice(at * length, (at + 1) * length)
          // Probabilities are no larger than their rows' sums, 1, as `lse`'s magnitude is no smaller than.
          expectClose(
            'lse',
            flat(attentionRows(head.q, head.k, headLse, picked, head.problem, tiles)),
            part(rows, picked.length * sizes.Sk),
          )
          const expectedSums = part(sums, sizes.Sk).map((sum) => sum / Math.max(1, sizes.Sq))
          const gotSums = attentionColumnSums(head.q, head.k, headLse, head.problem, tiles).map((sum) => sum / Math.max(1, sizes.Sq))
          expectClose('lse', gotSums, expectedSums)
          const got = attentionTopK(head.q, head.k, headLse, topK, head.problem, tiles)
          expectClose('lse', flat(got.probabilities), part(probabilities, sizes.Sq * topK))
          expect(flat(got.indices)).toEqual(part(indices, sizes.Sq * topK))
        }
      }),
      { numRuns: 60, seed: 4 },
    )
  })
})
