import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { attentionRandomRow, attentionRandomWord, PhiloxStream, philox4x32 } from './philox'

describe('philox4x32', () => {
  it("gives the authors' known answers (Random123, kat_vectors)", () => {
    const ones = 0xffffffff
    expect(philox4x32([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
    expect(philox4x32([ones, ones, ones, ones], [ones, ones])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd])
    expect(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
    ])
  })

  it('equals the rounds computed with big integers', () => {
    const word = fc.integer({ min: 0, max: 0xffffffff })
    fc.assert(
      fc.property(fc.tuple(word, word, word, word), fc.tuple(word, word), (counter, key) => {
        let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint]
        let [k0, k1] = key.map(BigInt) as [bigint, bigint]
        for (let round = 0; round < 10; round++) {
          const product0 = 0xd2511f53n * c0
          const product1 = 0xcd9e8d57n * c2
          ;[c0, c1, c2, c3] = [(product1 >> 32n) ^ c1 ^ k0, product1 & 0xffffffffn, (product0 >> 32n) ^ c3 ^ k1, product0 & 0xffffffffn]
          k0 = (k0 + 0x9e3779b9n) & 0xffffffffn
          k1 = (k1 + 0xbb67ae85n) & 0xffffffffn
        }
        expect(philox4x32(counter, key)).toEqual([c0, c1, c2, c3].map(Number))
      }),
    )
  })
})

describe('attentionRandomWord', () => {
  it('is keyed by seed, head, query and key, four keys to one counter', () => {
    const seed = 5 * 2 ** 32 + 7
    const words = [0, 1, 2, 3].map((j) => attentionRandomWord(seed, 9, 11, 12 + j))
    expect(words).toEqual(philox4x32([3, 11, 9, 0], [7, 5]))
  })
})

describe('attentionRandomRow', () => {
  it('is the words of neighbouring keys, wherever it begins', () => {
    for (const [begin, end] of [
      [0, 9],
      [3, 4],
      [6, 17],
      [5, 5],
    ] as const) {
      const words = Array.from({ length: end - begin }, (_, n) => attentionRandomWord(99, 4, 2, begin + n))
      expect([...attentionRandomRow(99, 4, 2, begin, end)]).toEqual(words)
    }
  })
})

describe('PhiloxStream', () => {
  it('repeats for the same seed and stream, and differs for others', () => {
    const draw = (seed: number, stream: number) => {
      const random = new PhiloxStream(seed, stream)
      return Array.from({ length: 9 }, () => random.nextUniform())
    }
    expect(draw(1, 2)).toEqual(draw(1, 2))
    expect(draw(1, 2)).not.toEqual(draw(2, 2))
    expect(draw(1, 2)).not.toEqual(draw(1, 3))
  })

  it('draws uniforms in [0, 1) and normals with the moments of their distributions', () => {
    const random = new PhiloxStream(42)
    const n = 100_000
    const uniforms = Array.from({ length: n }, () => random.nextUniform())
    const normals = Array.from({ length: n }, () => random.nextNormal())
    const moment = (x: number[], power: number) => x.reduce((sum, v) => sum + v ** power, 0) / n
    expect(Math.min(...uniforms)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...uniforms)).toBeLessThan(1)
    // Within 5 standard errors, √(variance of x^p / n), of E x^p: uniform 1/(p+1), normal 0, 1, 0, 3.
    for (const p of [1, 2, 3]) {
      expect(Math.abs(moment(uniforms, p) - 1 / (p + 1))).toBeLessThan(5 * Math.sqrt((1 / (2 * p + 1) - 1 / (p + 1) ** 2) / n))
    }
    const [normalMoments, variances] = [
      [0, 1, 0, 3],
      [1, 2, 15, 96],
    ] as const
    for (const p of [1, 2, 3, 4]) {
      expect(Math.abs(moment(normals, p) - (normalMoments[p - 1] as number))).toBeLessThan(5 * Math.sqrt((variances[p - 1] as number) / n))
    }
  })

  it('refuses a seed that is no integer in range', () => {
    for (const seed of [-1, 0.5, Number.NaN, 2 ** 53]) expect(() => new PhiloxStream(seed)).toThrow(/seed must be an integer/)
  })
})
