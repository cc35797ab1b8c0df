import { expect, test } from 'vitest'
import { warmupCosine } from './schedule'

test('rises in a line, then falls along half a cosine to minLr', () => {
  const rate = warmupCosine({ lr: 1, minLr: 0.1, warmupSteps: 4, totalSteps: 12 })
  expect([0, 1, 2, 3, 4].map(rate)).toEqual([0.25, 0.5, 0.75, 1, 1])
  expect(rate(8)).toBeCloseTo(0.55, 15)
  expect(rate(6) + rate(10)).toBeCloseTo(1.1, 15)
  expect(rate(6)).toBeCloseTo(0.1 + 0.45 * (1 + Math.SQRT1_2), 15)
  expect([12, 13, 1000].map(rate)).toEqual([0.1, 0.1, 0.1])
})

test('without warmup begins at lr and ends at 0', () => {
  const rate = warmupCosine({ lr: 3, totalSteps: 2 })
  expect([rate(0), rate(1), rate(2)]).toEqual([3, expect.closeTo(1.5, 15), 0])
})

test.each([
  [{ lr: Number.NaN, totalSteps: 1 }, 'warmupCosine: lr must be a finite number ≥ 0, got NaN'],
  [{ lr: 1, minLr: 2, totalSteps: 1 }, 'minLr must be in 0..lr (1), got 2'],
  [{ lr: 1, totalSteps: 0 }, 'totalSteps must be a positive integer, got 0'],
  [{ lr: 1, totalSteps: 5, warmupSteps: 6 }, 'warmupSteps must be in 0..5, got 6'],
])('refuses %o', (options, message) => {
  expect(() => warmupCosine(options)).toThrow(message)
})
