import type { Tensor } from '@tilegrad/tensor'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { draw, problems, size } from '../attention.testing'
import { attentionRandomWord } from '../philox'
import { createReferenceBackend } from './backend'

const backend = createReferenceBackend()
const { kernels } = backend

/** Sums of at most 90 terms with relative errors of a few ε each, beside max(1, ·). */
function expectClose(got: number, expected: number): void {
  if (got !== expected) expect(Math.abs(got - expected)).toBeLessThanOrEqual(1000 * Number.EPSILON * Math.max(1, Math.abs(expected)))
}

describe('attention of the reference', () => {
  it('equals its definition, pair by pair, for any combination of options', async () => {
    await fc.assert(
      fc.asyncProperty(problems, async (p) => {
        const { sizes, tensors, options, visible, score, value, sink } = draw(backend, p)
        const { Hq, Dv, totalQ, lengths, cuSeqlensQ } = sizes
        const result = kernels.attentionForward(...tensors, options)
        const [out, lse] = [await result.out.read(), await result.lse.read()]
        lengths.forEach(([sq, sk], b) => {
          for (let h = 0; h < Hq; h++) {
            for (let i = 0; i < sq; i++) {
              const keys = Array.from({ length: sk }, (_, j) => j).filter((j) => visible(b, h, i, j))
              const weights = keys.map((j) => Math.exp(score(b, h, i, j)))
              const total = weights.reduce((a, w) => a + w, Math.exp(sink(h)))
              const row = (cuSeqlensQ[b] as number) + i
              expectClose(lse[p.packed ? h * totalQ + row : (b * Hq + h) * sq + i] as number, Math.log(total))
              const kept = keys.map(
                (j) => p.dropoutP === null || attentionRandomWord(p.seed, b * Hq + h, i, j) >= Math.floor(p.dropoutP * 2 ** 32),
              )
              for (let d = 0; d < Dv; d++) {
                const sum = keys.reduce((a, j, n) => a + (kept[n] ? (weights[n] as number) * value(b, h, j, d) : 0), 0)
                expectClose(out[(row * Hq + h) * Dv + d] as number, total === 0 ? 0 : sum / total / (1 - (p.dropoutP ?? 0)))
              }
            }
          }
        })
      }),
      { numRuns: 60, seed: 4 },
    )
  })

  it('looks inside: rows, column sums and best keys of the probabilities before dropout', async () => {
    await fc.assert(
      fc.asyncProperty(problems, size(6, 1), fc.array(fc.nat(), { maxLength: 4 }), async (problem, topK, picks) => {
        const p = { ...problem, packed: false }
        const { sizes, tensors, options, visible, score } = draw(backend, p)
        const { B, Hq, Sq, Sk } = sizes
        const [q, k] = tensors
        const { lse } = kernels.attentionForward(...tensors, options)
        const lses = await lse.read()
        const picked = Sq > 0 ? picks.map((n) => n % Sq) : []
        const rows = await kernels.attentionRows(q, k, lse, picked, options).read()
        const sums = await kernels.attentionColumnSums(q, k, lse, options).read()
        const best = kernels.attentionTopK(q, k, lse, topK, options)
        const [probabilities, indices] = [await best.probabilities.read(), await best.indices.read()]
        for (let b = 0; b < B; b++) {
          for (let h = 0; h < Hq; h++) {
            const head = b * Hq + h
            const s = Array.from({ length: Sq }, (_, i) =>
              Array.from({ length: Sk }, (_, j) => (visible(b, h, i, j) ? score(b, h, i, j) : Number.NEGATIVE_INFINITY)),
            )
            const probability = (i: number, j: number) =>
              s[i]?.[j] === Number.NEGATIVE_INFINITY ? 0 : Math.exp((s[i]?.[j] as number) - (lses[head * Sq + i] as number))
            for (let j = 0; j < Sk; j++) {
              picked.forEach((i, n) => {
                expectClose(rows[(head * picked.length + n) * Sk + j] as number, probability(i, j))
              })
              expectClose(
                sums[head * Sk + j] as number,
                s.reduce((a, _, i) => a + probability(i, j), 0),
              )
            }
            for (let i = 0; i < Sq; i++) {
              const seen = Array.from({ length: Sk }, (_, j) => j).filter((j) => s[i]?.[j] !== Number.NEGATIVE_INFINITY)
              const sorted = seen.map((j) => probability(i, j)).sort((x, y) => y - x)
              const at = (head * Sq + i) * topK
              const found = [...indices.slice(at, at + topK)]
              expect(found.filter((j) => j !== -1)).toHaveLength(Math.min(topK, seen.length))
              expect(new Set(found.filter((j) => j !== -1)).size).toBe(Math.min(topK, seen.length))
              found.forEach((j, n) => {
                expectClose(probabilities[at + n] as number, sorted[n] ?? 0)
                if (j !== -1) expectClose(probabilities[at + n] as number, probability(i, j))
                else expect(n).toBeGreaterThanOrEqual(seen.length)
              })
            }
          }
        }
      }),
      { numRuns: 40, seed: 5 },
    )
  })

  it('of equal scores names the lower key first, and −1 where there are no more', async () => {
    const [q, k] = [backend.zeros([1, 2, 1, 2]), backend.zeros([1, 3, 1, 2])]
    const options = { causal: true }
    const { lse } = kernels.attentionForward(q, k, k, options)
    const { probabilities, indices } = kernels.attentionTopK(q, k, lse, 4, options)
    expect([...(await indices.read())]).toEqual([0, 1, -1, -1, 0, 1, 2, -1])
    const third = Math.exp(-Math.log(3))
    expect([...(await probabilities.read())]).toEqual([0.5, 0.5, 0, 0, third, third, third, 0])
  })

  it('keeps what float32 must: a sink far above the scores neither overflows nor makes NaN', async () => {
    const f32 = createReferenceBackend({ precision: 'f32' })
    const x = f32.tensor([1, 2, 3, 4], [1, 2, 1, 2])
    const sink = f32.tensor([200], [1])
    const { out, lse } = f32.kernels.attentionForward(x, x, x, { sink, causal: true })
    expect([...(await lse.read())]).toEqual([200, 200])
    expect([...(await out.read())]).toEqual([0, 0, 0, 0])
    const gradients = f32.kernels.attentionBackward(x, x, x, x, out, lse, { sink, causal: true })
    for (const gradient of Object.values(gradients) as Tensor[]) {
      for (const value of await gradient.read()) expect(Math.abs(value)).toBe(0)
    }
  })
})
