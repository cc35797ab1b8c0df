import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { and, not, or } from './combinators'
import { anyMask, anyTile, families, limits, pairsOf } from './families.testing'
import { type MaskMod, type MaskTile, tileBoundOf, withTileBound } from './mask-mod'
import { causal, slidingWindow } from './masks/band'
import { bigBird } from './masks/big-bird'

describe.each(Object.entries(families))('%s', (_name, family) => {
  it('sees what its definition says, for every pair', () => {
    fc.assert(
      fc.property(family, ({ mask, sees }) => {
        for (let b = 0; b < limits.batchSize; b++) {
          for (let h = 0; h < limits.nHeads; h++) {
            for (let i = 0; i < limits.seqlen; i++) {
              for (let j = 0; j < limits.seqlen; j++) {
                if (mask(b, h, i, j) !== sees(b, h, i, j)) throw new Error(`b ${b}, h ${h}, query ${i}, key ${j}: ${mask(b, h, i, j)}`)
              }
            }
          }
        }
      }),
      { numRuns: 40 },
    )
  })

  it('gives bounds that its pairs never contradict', () => {
    fc.assert(fc.property(family, fc.array(anyTile, { minLength: 20, maxLength: 20 }), ({ mask }, tiles) => tiles.every(soundFor(mask))))
  })

  it('names only tiles with the same pairs alike', () => {
    fc.assert(
      fc.property(family, sides, sides, ({ mask }, rows, columns) => namesAreSound(mask, rows, columns)),
      { numRuns: 60 },
    )
  })
})

const soundFor = (mask: MaskMod) => (tile: MaskTile) => {
  const bound = tileBoundOf(mask, tile)
  if (bound === 'partial') return true
  return !pairsOf(mask, tile).includes(bound === 'full' ? '0' : '1')
}

const sides = fc.constantFrom(1, 2, 3, 4, 6, 8, 16, 32)

/** Names all partial tiles of these sides, and compares the pairs of those of the same name. */
function namesAreSound(mask: MaskMod, rows: number, columns: number): void {
  const named = new Map<string, string>()
  for (let n = 0; n < limits.batchSize * limits.nHeads; n++) {
    const [b, h] = [n % limits.batchSize, Math.floor(n / limits.batchSize)]
    for (let qBegin = 0; qBegin + rows <= limits.seqlen; qBegin += Math.max(rows, 4)) {
      for (let kvBegin = 0; kvBegin + columns <= limits.seqlen; kvBegin += Math.max(columns, 4)) {
        const tile = { b, h, qBegin, qEnd: qBegin + rows, kvBegin, kvEnd: kvBegin + columns }
        const pattern = tileBoundOf(mask, tile) === 'partial' ? mask.tilePattern?.(tile) : undefined
        if (pattern === undefined) continue
        const pairs = pairsOf(mask, tile)
        const before = named.get(pattern)
        if (before !== undefined && before !== pairs) throw new Error(`${pattern} at ${JSON.stringify(tile)}`)
        named.set(pattern, pairs)
      }
    }
  }
}

describe('masks and their combinations', () => {
  it('give bounds that their pairs never contradict', () => {
    fc.assert(fc.property(anyMask, fc.array(anyTile, { minLength: 20, maxLength: 20 }), (mask, tiles) => tiles.every(soundFor(mask))))
  })

  it('give the same name only to tiles with the same pairs', () => {
    fc.assert(fc.property(anyMask, sides, sides, namesAreSound))
  })

  it('combine pair by pair', () => {
    fc.assert(
      fc.property(anyMask, anyMask, anyTile, (one, other, tile) => {
        const [a, b] = [pairsOf(one, tile), pairsOf(other, tile)]
        const both = (combine: (x: boolean, y: boolean) => boolean) =>
          [...a].map((x, i) => (combine(x === '1', b[i] === '1') ? '1' : '0')).join('')
        expect(pairsOf(and(one, other), tile)).toBe(both((x, y) => x && y))
        expect(pairsOf(or(one, other), tile)).toBe(both((x, y) => x || y))
        expect(pairsOf(not(one), tile)).toBe(both((x) => !x))
      }),
    )
  })

  it('combine bounds: one decides, all agree, not swaps', () => {
    const [full, empty, partial] = (['full', 'empty', 'partial'] as const).map((bound) =>
      withTileBound(
        () => true,
        () => bound,
      ),
    )
    if (!full || !empty || !partial) throw new Error('three masks')
    const tile = { b: 0, h: 0, qBegin: 0, qEnd: 1, kvBegin: 0, kvEnd: 1 }
    const bound = (mask: MaskMod) => tileBoundOf(mask, tile)
    expect([and(full, full), and(full, partial), and(partial, empty)].map(bound)).toEqual(['full', 'partial', 'empty'])
    expect([or(empty, empty), or(empty, partial), or(partial, full)].map(bound)).toEqual(['empty', 'partial', 'full'])
    expect([not(full), not(partial), not(empty)].map(bound)).toEqual(['empty', 'partial', 'full'])
    expect([and(() => true), not(() => true)].map(bound)).toEqual(['partial', 'partial'])
  })
})

describe('bigBird', () => {
  const options = { seqlenK: 40 * 16, blockSize: 16, windowBlocks: 3, globalBlocks: 2, randomBlocks: 3 }
  /** Key blocks that a query block sees, by the middle of each. */
  const seen = (mask: ReturnType<typeof bigBird>, h: number, qBlock: number) =>
    Array.from({ length: 40 }, (_, kvBlock) => kvBlock).filter((kvBlock) => mask(0, h, qBlock * 16 + 8, kvBlock * 16 + 8))
  const blocks = Array.from({ length: 40 }, (_, block) => block)

  it('sees window, global and exactly randomBlocks other blocks', () => {
    const mask = bigBird({ ...options, seed: 7 })
    for (const qBlock of blocks.slice(2)) {
      const kvBlocks = seen(mask, 0, qBlock)
      const others = kvBlocks.filter((kvBlock) => kvBlock >= 2 && Math.abs(kvBlock - qBlock) > 1)
      expect(others).toHaveLength(3)
      expect(kvBlocks).toEqual(blocks.filter((block) => block < 2 || Math.abs(block - qBlock) <= 1 || others.includes(block)))
    }
    expect([seen(mask, 0, 0), seen(mask, 0, 1)]).toEqual([blocks, blocks])
  })

  it('draws by seed, head and query block alone', () => {
    const draw = (seed: number, h: number) => blocks.map((qBlock) => seen(bigBird({ ...options, seed }), h, qBlock))
    expect(draw(1, 0)).toEqual(draw(1, 0))
    expect([...draw(1, 0)].reverse()).toEqual([...blocks].reverse().map((qBlock) => seen(bigBird({ ...options, seed: 1 }), 0, qBlock)))
    for (const [seed, h] of [
      [2, 0],
      [1, 1],
      [1 + 2 ** 32, 0],
    ] as const)
      expect(draw(seed, h)).not.toEqual(draw(1, 0))
  })

  it('draws the same blocks on every platform', () => {
    expect(
      [2, 9, 20, 39].map((qBlock) => seen(bigBird({ ...options, globalBlocks: 0, windowBlocks: 1, seed: 2 ** 40 + 3 }), 0, qBlock)),
    ).toMatchInlineSnapshot(`
      [
        [
          2,
          23,
          26,
          36,
        ],
        [
          9,
          17,
          23,
          31,
        ],
        [
          6,
          13,
          20,
          36,
        ],
        [
          4,
          6,
          35,
          39,
        ],
      ]
    `)
  })

  it('draws all blocks equally often', () => {
    // 400 heads draw 3 of 35 candidates each: binomial, mean 34.3, standard deviation 5.6. Six of them leave a chance of 1 in 10^8 a block.
    const mask = bigBird({ ...options, seed: 5 })
    const counts = new Map<number, number>()
    for (let h = 0; h < 400; h++) for (const kvBlock of seen(mask, h, 20)) counts.set(kvBlock, (counts.get(kvBlock) ?? 0) + 1)
    const mean = (400 * 3) / 35
    const deviation = Math.sqrt(400 * (3 / 35) * (32 / 35))
    for (const kvBlock of blocks.filter((block) => block >= 2 && Math.abs(block - 20) > 1)) {
      expect(Math.abs((counts.get(kvBlock) ?? 0) - mean)).toBeLessThan(6 * deviation)
    }
  })
})

describe('parameters', () => {
  it('agree where helpers meet: a window that is open to the left is causal', () => {
    const tile = { b: 0, h: 0, qBegin: 0, qEnd: 40, kvBegin: 0, kvEnd: 60 }
    expect(pairsOf(slidingWindow([-1, 0], { offset: 20 }), tile)).toBe(pairsOf(causal({ offset: 20 }), tile))
  })
})
