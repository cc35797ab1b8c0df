import { expect, it } from 'vitest'
import { fitCost, shareOfAllowed } from './fit'

const shares = [1, 1 / 4, 1 / 16, 1 / 64]

it('finds fixed cost and slope of a line', () => {
  const { fixed, slope } = fitCost(shares.map((s) => ({ s, seconds: 0.2 + 3 * s })))
  expect(fixed).toBeCloseTo(0.2, 12)
  expect(slope).toBeCloseTo(3, 12)
})

it('weighs relative errors: a dense time that is off by a tenth hardly moves the fixed cost', () => {
  const points = shares.map((s) => ({ s, seconds: (0.2 + 3 * s) * (s === 1 ? 1.1 : 1) }))
  expect(fitCost(points).fixed).toBeCloseTo(0.2, 1)
})

it('has no negative fixed cost', () => {
  const { fixed, slope } = fitCost([
    { s: 1, seconds: 4 },
    { s: 0.5, seconds: 1 },
  ])
  expect(fixed).toBe(0)
  expect(slope).toBeGreaterThan(2)
  expect(slope).toBeLessThan(4)
})

it('needs two values of s', () => {
  expect(() => fitCost([{ s: 1, seconds: 1 }])).toThrow('two values')
  expect(() =>
    fitCost([
      { s: 1, seconds: 1 },
      { s: 1, seconds: 2 },
    ]),
  ).toThrow('two values')
})

it('compares with 1.15 × s × dense + fixed', () => {
  expect(shareOfAllowed({ s: 0.5, seconds: 1.25 }, 2, { fixed: 0.1, slope: 2 })).toBeCloseTo(1, 12)
})
