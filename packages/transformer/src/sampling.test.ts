import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sampleToken } from './sampling'

/** Probabilities of every token, computed the long way: softmax, then the filters as set definitions. */
function distribution(logits: readonly number[], temperature: number, topK: number, topP: number): number[] {
  const likelier = (a: number, b: number) => (logits[a] as number) > (logits[b] as number) || (logits[a] === logits[b] && a < b)
  const all = logits.map((_, i) => i)
  const softmax = (members: readonly number[]) => {
    const max = Math.max(...members.map((i) => logits[i] as number))
    const weights = logits.map((l, i) => (members.includes(i) ? Math.exp((l - max) / temperature) : 0))
    const total = weights.reduce((a, b) => a + b)
    return weights.map((w) => w / total)
  }
  const kept = all.filter((i) => topK === 0 || all.filter((other) => likelier(other, i)).length < topK)
  const p = softmax(kept)
  // A token is in the nucleus if those before it have not reached topP.
  const before = (i: number) => kept.filter((other) => likelier(other, i)).reduce((sum, other) => sum + (p[other] as number), 0)
  return softmax(topP === 1 ? kept : kept.filter((i) => before(i) < topP))
}

const logitsOf = fc.array(fc.double({ min: -6, max: 6, noNaN: true }), { minLength: 1, maxLength: 12 })
const settings = fc.record({
  temperature: fc.double({ min: 0.2, max: 3, noNaN: true }),
  topK: fc.integer({ min: 0, max: 14 }),
  topP: fc.oneof(fc.constant(1), fc.double({ min: 0.05, max: 1, noNaN: true })),
})

describe('sampleToken', () => {
  test('gives each token the share of [0, 1) that its probability is', () => {
    fc.assert(
      fc.property(logitsOf, settings, (logits, options) => {
        const expected = distribution(logits, options.temperature, options.topK, options.topP)
        const draws = 500
        const counts = logits.map(() => 0)
        for (let i = 0; i < draws; i++) counts[sampleToken(logits, options, (i + 0.5) / draws)]!++
        // The shares are intervals: a count of grid points misses each by at most one at either end.
        counts.forEach((count, i) => {
          expect(Math.abs(count - draws * (expected[i] as number))).toBeLessThanOrEqual(1 + 1e-6 * draws)
          if (expected[i] === 0) expect(count).toBe(0)
        })
      }),
      { seed: 7, numRuns: 100 },
    )
  })

  test('temperature 0 and topK 1 take the first of the most likely, whatever is drawn', () => {
    for (const uniform of [0, 0.5, 1 - 2 ** -53]) {
      expect(sampleToken([1, 3, 3, 2], { temperature: 0, topK: 0, topP: 1 }, uniform)).toBe(1)
      expect(sampleToken([1, 3, 3, 2], { temperature: 1, topK: 1, topP: 1 }, uniform)).toBe(1)
    }
  })

  test('never takes a token of probability 0', () => {
    const options = { temperature: 1, topK: 0, topP: 1 }
    for (const uniform of [0, 0.5, 1 - 2 ** -53]) expect(sampleToken([-Infinity, 0, -Infinity, -800], options, uniform)).toBe(1)
  })

  test('refuses logits that no probabilities follow from', () => {
    const options = { temperature: 1, topK: 0, topP: 1 }
    expect(() => sampleToken([0, Number.NaN], options, 0)).toThrow('sampleToken: logits must be finite or −∞, got NaN at index 1')
    expect(() => sampleToken([Infinity], options, 0)).toThrow('got Infinity at index 0')
    expect(() => sampleToken([-Infinity], options, 0)).toThrow('at least one logit must be finite')
  })
})
