import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TopK } from './top-k'

const score = fc.oneof(fc.integer({ min: -4, max: 4 }), fc.constant(Number.NEGATIVE_INFINITY))

describe('TopK', () => {
  it('equals sorting all scores, in whatever order they come and however they are split', () => {
    fc.assert(
      fc.property(
        fc.array(score, { maxLength: 30 }),
        fc.integer({ min: 1, max: 8 }),
        fc.infiniteStream(fc.nat()),
        (scores, size, random) => {
          const order = scores.map((_, j) => j).sort(() => ((random.next().value as number) % 2 === 0 ? 1 : -1))
          const [left, right] = [new TopK(size), new TopK(size)]
          for (const j of order) ((random.next().value as number) % 2 === 0 ? left : right).insert(scores[j] as number, j)
          left.merge(right)
          const seen = scores.map((_, j) => j).filter((j) => scores[j] !== Number.NEGATIVE_INFINITY)
          const expected = seen.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b).slice(0, size)
          expect(left.indices).toEqual(expected)
          expect(left.scores).toEqual(expected.map((j) => scores[j]))
        },
      ),
      { numRuns: 500 },
    )
  })
})
