import { createReferenceBackend } from '@tilegrad/core-math'
import { expect, it } from 'vitest'
import { algorithms, errorsOf, relativeErrors, results } from './errors'

it('measures the largest and the root mean squared error, relative to the size of the result', () => {
  const { maxError, rmsError } = relativeErrors([
    { actual: [3, 4], expected: [3, 5] },
    { actual: [5], expected: [5] },
  ])
  const size = Math.sqrt((9 + 25 + 25) / 3)
  expect(maxError).toBeCloseTo(1 / size, 12)
  expect(rmsError).toBeCloseTo(Math.sqrt(1 / 3) / size, 12)
  expect(relativeErrors([{ actual: [Number.NaN], expected: [1] }]).rmsError).toBeNaN()
})

it('finds no error in float64 and one of float32 size in float32, for every result of every algorithm', async () => {
  const shape = { batchSize: 1, seqlenQ: 70, seqlenK: 70, nHeads: 1, headDim: 16, causal: true }
  const exact = await errorsOf(createReferenceBackend({ precision: 'f64' }), shape, 4)
  const rounded = await errorsOf(createReferenceBackend({ precision: 'f32' }), shape, 4)
  const names = exact.map(({ algorithm, what }) => `${algorithm} ${what}`)
  expect(new Set(names)).toEqual(new Set(algorithms.flatMap((a) => results.map((r) => `${a} ${r}`)).filter((n) => n !== 'standard lse')))
  for (const { algorithm, maxError } of exact) if (algorithm !== 'naive') expect(maxError).toBeLessThan(1e-12)
  for (const { rmsError } of rounded) {
    expect(rmsError).toBeGreaterThan(1e-9)
    expect(rmsError).toBeLessThan(1e-5)
  }
})
