import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { OnlineSoftmax } from './softmax'

const score = fc.oneof({ weight: 8, arbitrary: fc.double({ min: -1000, max: 1000, noNaN: true }) }, fc.constant(Number.NEGATIVE_INFINITY))
const tiles = fc.array(fc.array(score, { maxLength: 6 }), { maxLength: 6 })

/** Σ exp(s − max)·value / Σ exp(s − max) and the lse, over all scores at once. */
function atOnce(scores: number[], values: number[]): { mean: number; lse: number } {
  const max = Math.max(...scores)
  if (max === Number.NEGATIVE_INFINITY) return { mean: 0, lse: max }
  const weights = scores.map((s) => Math.exp(s - max))
  const sum = weights.reduce((a, b) => a + b, 0)
  return { mean: weights.reduce((a, w, j) => a + w * (values[j] as number), 0) / sum, lse: max + Math.log(sum) }
}

/** Feeds tiles of one row; the value of the n-th score is sin n. */
function feed(softmax: OnlineSoftmax, parts: number[][], firstIndex: number): { o: number; next: number } {
  let o = 0
  let n = firstIndex
  for (const part of parts) {
    const row = Float64Array.from(part)
    o *= softmax.update(0, row)
    for (const p of row) o += p * Math.sin(n++)
  }
  return { o, next: n }
}

const close = (a: number, b: number) => (a === b ? 0 : Math.abs(a - b) / Math.max(1, Math.abs(b)))
// At most 72 scores, each rounded a few times in exp, product and sums of no cancellation that matters beside max(1, ·).
const ROUNDING = 72 * 4 * Number.EPSILON

describe('OnlineSoftmax', () => {
  it('equals softmax of the whole row, however it is cut into tiles', () => {
    fc.assert(
      fc.property(tiles, (parts) => {
        const softmax = new OnlineSoftmax(1)
        const { o } = feed(softmax, parts, 0)
        const { inverse, lse } = softmax.finalise(0)
        const scores = parts.flat()
        const expected = atOnce(
          scores,
          scores.map((_, n) => Math.sin(n)),
        )
        expect(close(o * inverse, expected.mean)).toBeLessThan(ROUNDING)
        expect(close(lse, expected.lse)).toBeLessThan(ROUNDING)
      }),
    )
  })

  it('merges two states into that of all scores, empty ones included', () => {
    fc.assert(
      fc.property(tiles, tiles, (first, second) => {
        const left = new OnlineSoftmax(1)
        const right = new OnlineSoftmax(1)
        const a = feed(left, first, 0)
        const b = feed(right, second, a.next)
        const { own, other } = left.merge(0, right)
        const { inverse, lse } = left.finalise(0)
        const scores = [...first, ...second].flat()
        const expected = atOnce(
          scores,
          scores.map((_, n) => Math.sin(n)),
        )
        expect(close((own * a.o + other * b.o) * inverse, expected.mean)).toBeLessThan(ROUNDING)
        expect(close(lse, expected.lse)).toBeLessThan(ROUNDING)
      }),
    )
  })

  it('counts a sink once, as one more score without a value', () => {
    fc.assert(
      fc.property(tiles, tiles, score, (first, second, sink) => {
        const left = new OnlineSoftmax(1)
        const right = new OnlineSoftmax(1)
        const a = feed(left, first, 0)
        const b = feed(right, second, a.next)
        const { own, other } = left.merge(0, right)
        const { inverse, lse } = left.finalise(0, sink)
        const scores = [...first, ...second].flat()
        const expected = atOnce([...scores, sink], [...scores.map((_, n) => Math.sin(n)), 0])
        expect(close((own * a.o + other * b.o) * inverse, expected.mean)).toBeLessThan(ROUNDING)
        expect(close(lse, expected.lse)).toBeLessThan(ROUNDING)
      }),
    )
  })

  it('gives 0 and −∞, never NaN, for a row that saw no key', () => {
    const softmax = new OnlineSoftmax(1)
    const row = new Float64Array(3).fill(Number.NEGATIVE_INFINITY)
    expect(softmax.update(0, row)).not.toBeNaN()
    expect([...row]).toEqual([0, 0, 0])
    expect(softmax.merge(0, new OnlineSoftmax(1))).toEqual({ own: 0, other: 0 })
    expect(softmax.finalise(0)).toEqual({ inverse: 0, lse: Number.NEGATIVE_INFINITY })
  })

  it('lets NaN through', () => {
    const softmax = new OnlineSoftmax(1)
    softmax.update(0, Float64Array.of(1, Number.NaN))
    expect(softmax.finalise(0)).toEqual({ inverse: Number.NaN, lse: Number.NaN })
  })
})
