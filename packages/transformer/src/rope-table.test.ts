import { createReferenceBackend } from '@tilegrad/core-math'
import { expect, test } from 'vitest'
import { resolveConfig } from './config'
import { createRopeTable, inverseFrequencies } from './rope-table'

const options = { architecture: 'llama', vocabSize: 8, contextLength: 6, nLayers: 1, nHeads: 1, dModel: 64 } as const

test('rows are positions, columns are pairs', async () => {
  const { cos, sin } = createRopeTable(createReferenceBackend(), resolveConfig({ ...options, dModel: 4, ropeTheta: 100 }))
  expect(cos.shape).toEqual([6, 2])
  const expected = (fn: (x: number) => number) =>
    Float64Array.from({ length: 12 }, (_, i) => fn(Math.floor(i / 2) * (i % 2 === 0 ? 1 : 0.1)))
  expect(await cos.read()).toEqual(expected(Math.cos))
  expect(await sin.read()).toEqual(expected(Math.sin))
})

test('scales frequencies as Llama 3.1: by wavelength, as its published code does', () => {
  const scaling = { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContextLength: 256 }
  const plain = inverseFrequencies(resolveConfig({ ...options, ropeTheta: 500000 }))
  const scaled = inverseFrequencies(resolveConfig({ ...options, ropeTheta: 500000, ropeScaling: scaling }))
  const kinds = new Set<string>()
  plain.forEach((frequency, i) => {
    const wavelength = (2 * Math.PI) / frequency
    let expected: number
    if (wavelength < 256 / 4) {
      kinds.add('kept')
      expected = frequency
    } else if (wavelength > 256 / 1) {
      kinds.add('divided')
      expected = frequency / 8
    } else {
      kinds.add('blended')
      const smooth = (256 / wavelength - 1) / (4 - 1)
      expected = ((1 - smooth) * frequency) / 8 + smooth * frequency
    }
    expect((scaled[i] as number) / expected).toBeCloseTo(1, 14)
  })
  expect(kinds.size).toBe(3)
})
