import { ArgumentError, type BlockMask } from '@tilegrad/tensor'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { createBlockMask } from './create-block-mask'
import { anyMask } from './families.testing'
import {
  and,
  bigBird,
  butterfly,
  causal,
  density,
  dilated,
  document,
  fixed,
  localGlobal,
  type MaskMod,
  pairDensity,
  prefixLM,
  slidingWindow,
  strided,
  visible,
} from './index'

/** The lists of a mask by looking at every pair: 'full' or 'partial' by tile, and how many pairs are visible. */
function bruteForce(maskMod: MaskMod, { batchSize, nHeads, seqlenQ, seqlenK, blockM, blockN }: BlockMask) {
  const tiles = new Map<string, 'full' | 'partial'>()
  let pairs = 0
  for (let b = 0; b < batchSize; b++) {
    for (let h = 0; h < nHeads; h++) {
      for (let mBlock = 0; mBlock * blockM < seqlenQ; mBlock++) {
        for (let nBlock = 0; nBlock * blockN < seqlenK; nBlock++) {
          let [seen, all] = [0, 0]
          for (let i = mBlock * blockM; i < Math.min(seqlenQ, (mBlock + 1) * blockM); i++) {
            for (let j = nBlock * blockN; j < Math.min(seqlenK, (nBlock + 1) * blockN); j++, all++) if (maskMod(b, h, i, j)) seen++
          }
          if (seen > 0) tiles.set(`${b},${h},${mBlock},${nBlock}`, seen === all ? 'full' : 'partial')
          pairs += seen
        }
      }
    }
  }
  return { tiles, pairs }
}

/** Tiles as rows list them (side 'kv') or as the transpose does (side 'q'), in the order of the rows, and the mask of each. */
function listed(mask: BlockMask, side: 'kv' | 'q') {
  const [offsets, blocks, bits] = side === 'kv' ? [mask.kvOffsets, mask.kvBlocks, mask.kvBits] : [mask.qOffsets, mask.qBlocks, mask.qBits]
  const perHead = (offsets.length - 1) / (mask.batchSize * mask.nHeads)
  const tiles = new Map<string, number>()
  for (let row = 0; row < offsets.length - 1; row++) {
    const n = Math.floor(row / perHead)
    for (let t = offsets[row] as number; t < (offsets[row + 1] as number); t++) {
      const [own, other] = [row % perHead, blocks[t] as number]
      tiles.set([Math.floor(n / mask.nHeads), n % mask.nHeads, ...(side === 'kv' ? [own, other] : [other, own])].join(), bits[t] as number)
    }
  }
  return tiles
}

const sizes = fc.record({
  batchSize: fc.constantFrom(1, 2),
  nHeads: fc.constantFrom(1, 3),
  seqlenQ: fc.constantFrom(0, 1, 63, 64, 90, 96),
  seqlenK: fc.constantFrom(0, 1, 64, 65, 96),
  blockM: fc.constantFrom(64, 128),
  blockN: fc.constantFrom(64, 128, 192),
})

describe('createBlockMask', () => {
  it('lists exactly the tiles with a visible pair, as full exactly those with all, and shows exactly the pairs of the mask function', () => {
    fc.assert(
      fc.property(anyMask, sizes, (maskMod, options) => {
        const mask = createBlockMask(maskMod, options)
        const expected = bruteForce(maskMod, mask)
        const rows = listed(mask, 'kv')
        expect(new Map([...rows].map(([tile, bits]) => [tile, bits === -1 ? 'full' : 'partial']))).toEqual(expected.tiles)
        expect(new Map([...listed(mask, 'q')].sort())).toEqual(new Map([...rows].sort()))
        for (let b = 0; b < mask.batchSize; b++) {
          for (let h = 0; h < mask.nHeads; h++) {
            for (let i = 0; i < mask.seqlenQ; i++) {
              for (let j = 0; j < mask.seqlenK; j++) {
                if (visible(mask, b, h, i, j) !== maskMod(b, h, i, j)) throw new Error(`b ${b}, h ${h}, query ${i}, key ${j}`)
              }
            }
          }
        }
        const allPairs = mask.batchSize * mask.nHeads * mask.seqlenQ * mask.seqlenK
        expect(pairDensity(mask)).toBe(expected.pairs / Math.max(1, allPairs))
      }),
      { numRuns: 60 },
    )
  })

  it('keeps equal masks once, whatever tells that they are equal', () => {
    const options = { seqlenQ: 1024, seqlenK: 1024, blockM: 64, blockN: 64 }
    const distinct = (mask: BlockMask) => {
      const words = (mask.blockM * mask.blockN) / 32
      const masks = Array.from({ length: mask.bits.length / words }, (_, m) => mask.bits.slice(m * words, (m + 1) * words).join())
      expect(new Set(masks).size).toBe(masks.length)
      return masks.length
    }
    const withoutNames = causal()
    const partial = (mask: BlockMask) => mask.kvBits.filter((bits) => bits >= 0).length
    for (const maskMod of [causal(), (b, h, i, j) => withoutNames(b, h, i, j)] satisfies MaskMod[]) {
      const mask = createBlockMask(maskMod, options)
      expect([distinct(mask), partial(mask)]).toEqual([1, 16])
    }
    // A window of 100 cuts the diagonal and two diagonals further left.
    expect(distinct(createBlockMask(slidingWindow([100, 0]), options))).toBe(3)
    // Masks that differ in a single bit, or hold the same words in another order, are different.
    const bit: MaskMod = (_b, _h, i, j) => i % 64 === j % 64 || (i % 64 === Math.floor(i / 64) && j % 64 === 40 + Math.floor(j / 64))
    const mask = createBlockMask(bit, options)
    expect([distinct(mask), partial(mask)]).toEqual([256, 256])
  })

  it('tells masks apart whose hashes meet', () => {
    const product = vi.spyOn(Math, 'imul').mockReturnValue(0)
    const rows: MaskMod = (_b, _h, i, j) => j % 64 <= i && i < 32
    const mask = createBlockMask(rows, { seqlenQ: 64, seqlenK: 128, blockM: 64, blockN: 64, nHeads: 1 })
    const others = createBlockMask((b, h, i, j) => (j < 64 ? rows(b, h, i, j) : i === j % 5), { ...mask })
    expect(product).toHaveBeenCalled()
    product.mockRestore()
    expect([...mask.kvBits, ...others.kvBits]).toEqual([0, 0, 0, 1])
  })

  it('looks again at what a bound calls partial', () => {
    const loose = Object.assign((_b: number, _h: number, i: number, j: number) => i < 64 === j < 64, {
      tileBound: () => 'partial' as const,
    })
    const mask = createBlockMask(loose, { seqlenQ: 128, seqlenK: 128, blockM: 64, blockN: 64 })
    expect([mask.kvBlocks, mask.kvBits, mask.bits].map((list) => [...list])).toEqual([[0, 1], [-1, -1], []])
  })

  it('matches bottom-right causal attention by offset', () => {
    const mask = createBlockMask(causal({ offset: 300 - 100 }), { seqlenQ: 100, seqlenK: 300, blockM: 64, blockN: 64 })
    expect([visible(mask, 0, 0, 0, 200), visible(mask, 0, 0, 0, 201), visible(mask, 0, 0, 99, 299)]).toEqual([true, false, true])
  })

  it.each([
    ['batchSize', 0],
    ['nHeads', 1.5],
    ['seqlenQ', -1],
    ['seqlenK', Number.NaN],
    ['blockM', 100],
    ['blockN', 0],
  ])('refuses %s %d', (name, value) => {
    const options = { seqlenQ: 128, seqlenK: 128, [name]: value }
    expect(() => createBlockMask(causal(), options)).toThrow(ArgumentError)
    expect(() => createBlockMask(causal(), options)).toThrow(`createBlockMask: ${name} must be`)
  })

  it('refuses a bound that is none', () => {
    const maskMod = Object.assign(() => true, { tileBound: () => 'sparse' as 'full' })
    expect(() => createBlockMask(maskMod, { seqlenQ: 1, seqlenK: 1 })).toThrow("'full', 'partial' or 'empty', got sparse")
  })
})

describe('at 65,536 tokens', () => {
  const N = 65_536
  const tiles = (N / 128) ** 2
  const documents = Int32Array.from({ length: 65 }, (_, d) => (d < 64 ? d * 1000 : N))
  /** Each helper, and how many tiles it may look at. */
  const cases: [name: string, mask: MaskMod, looks: number][] = [
    ['causal', causal(), 1],
    // The diagonal, and two tiles that the left end cuts.
    ['slidingWindow', slidingWindow([1000, 0]), 3],
    // 128 is 28 past a multiple of 100: 25 phases; and the diagonal.
    ['dilated', dilated({ windowSize: [-1, 0], dilation: 100 }), 26],
    // Two tiles at either end of the window, two ranges of global queries, two of global keys: alone, together or not at all.
    ['localGlobal', localGlobal({ windowSize: [300, 300], globalTokens: [0, 1, 40_000] }), 5 * 3 * 3],
    // 2 × 2 blocks of 64 in a tile, neither all nor none of them.
    ['bigBird', bigBird({ seqlenK: N, seed: 1 }), 14],
    // The diagonal, the left end of the window, and a column.
    ['strided', strided({ stride: 256 }), 3],
    // The diagonal, and a summary.
    ['fixed', fixed({ stride: 256, summary: 32 }), 2],
    // The diagonal, the end of the prefix, and both.
    ['prefixLM', prefixLM({ prefixLength: 1000 }), 3],
    // Documents begin at one of 16 places in a tile, and have four sides and four corners.
    ['document', document({ cuSeqlens: documents }), 16 * 8],
    ['butterfly', butterfly(), 0],
    ['causal butterfly', and(causal(), butterfly()), 1],
  ]

  it.each(cases)('%s takes O(tiles) memory, and looks at the pairs of few tiles', (_name, mask, looks) => {
    let calls = 0
    const counted: MaskMod = Object.assign(
      (b: number, h: number, i: number, j: number) => {
        calls++
        return mask(b, h, i, j)
      },
      { tileBound: mask.tileBound, ...(mask.tilePattern && { tilePattern: mask.tilePattern }) },
    ) as MaskMod
    const built = createBlockMask(counted, { seqlenQ: N, seqlenK: N })
    expect(calls / (128 * 128)).toBeLessThanOrEqual(looks)
    const visited = built.kvBlocks.length
    const masks = built.bits.length / ((128 * 128) / 32)
    expect(masks).toBeLessThanOrEqual(looks)
    expect(visited).toBe(Math.round(density(built) * tiles))
    const bytes = Object.values(built).reduce((sum, value) => sum + (value instanceof Int32Array ? value.byteLength : 0), 0)
    // 16 bytes a tile, 8 a row of tiles, 2 KiB a mask. A dense mask would be 512 MiB even in bits.
    expect(bytes).toBe(16 * visited + 2 * 4 * (N / 128 + 1) + 2048 * masks)
    expect(bytes).toBeLessThan(N ** 2 / 8 / 50)
  })
})
