import { ArgumentError, checkBlockMask, ShapeError } from '@tilegrad/tensor'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { anyMask } from './families.testing'
import { type BlockLists, blockLists, blockMaskFromLists, causal, createBlockMask, density, maskModOf, pairDensity, visible } from './index'

const options = { seqlenQ: 150, seqlenK: 200, blockM: 64, blockN: 64 }
const none = { full: [], partial: [] }

describe('block lists', () => {
  it('go to a mask and back', () => {
    fc.assert(
      fc.property(anyMask, fc.constantFrom(1, 2), fc.constantFrom(1, 3), (maskMod, batchSize, nHeads) => {
        const mask = createBlockMask(maskMod, { batchSize, nHeads, seqlenQ: 90, seqlenK: 96, blockM: 64, blockN: 64 })
        expect(blockMaskFromLists(blockLists(mask), { ...mask, maskMod })).toEqual(mask)
        expect(blockMaskFromLists(blockLists(mask), { ...mask, maskMod: maskModOf(mask) })).toEqual(mask)
      }),
      { numRuns: 30 },
    )
  })

  it('name the tiles that a query block visits', () => {
    const lists: BlockLists = [[[{ full: [0, 3], partial: [1] }, none, { full: [2], partial: [0, 1] }]]]
    const mask = blockMaskFromLists(lists, { ...options, maskMod: (_b, _h, i, j) => i % 2 === j % 2 })
    expect(blockLists(mask)).toEqual(lists)
    expect([...mask.kvBlocks]).toEqual([0, 1, 3, 0, 1, 2])
    expect([...mask.qOffsets]).toEqual([0, 2, 4, 5, 6])
    expect([...mask.qBlocks]).toEqual([0, 2, 0, 2, 2, 0])
    // A full tile does not ask the mask function.
    expect([visible(mask, 0, 0, 0, 1), visible(mask, 0, 0, 0, 65), visible(mask, 0, 0, 1, 65), visible(mask, 0, 0, 70, 0)]).toEqual([
      true,
      false,
      true,
      false,
    ])
    expect(density(mask)).toBe(6 / 12)
    // Rows 0..63 and 128..149, keys 192..199 in the last block; of a partial tile every second pair is visible.
    expect(pairDensity(mask)).toBe((64 * 64 + 64 * 8 + 64 * 32 + 22 * 64 + 2 * 22 * 32) / (150 * 200))
    checkBlockMask('test', mask)
  })

  it('sort partial tiles by what they turn out to be', () => {
    const lists: BlockLists = [[[{ full: [], partial: [0, 1, 2] }, none, none]]]
    const mask = blockMaskFromLists(lists, { ...options, maskMod: (_b, _h, i, j) => j < 64 || (j < 128 && i === 5) })
    expect(blockLists(mask)[0]?.[0]?.[0]).toEqual({ full: [0], partial: [1] })
  })

  const row = (full: number[], partial: number[] = []) => [[[{ full, partial }, none, none]]]
  it.each<[string, BlockLists, typeof ArgumentError | typeof ShapeError, string]>([
    ['unsorted blocks', row([2, 1]), ArgumentError, 'lists[0][0][0].full must ascend strictly, got 2 before 1'],
    ['blocks named twice', row([], [1, 1]), ArgumentError, 'lists[0][0][0].partial must ascend strictly, got 1 before 1'],
    ['blocks past the end', row([4]), ArgumentError, 'lists[0][0][0].full must hold integers in 0..3, got 4'],
    ['negative blocks', row([], [-1]), ArgumentError, 'got -1'],
    ['blocks that are no integers', row([0.5]), ArgumentError, 'got 0.5'],
    ['a tile that is full and partial', row([1, 2], [2]), ArgumentError, 'as full or as partial, got 2 as both'],
    ['partial tiles without a mask function', row([], [0]), ArgumentError, 'maskMod is required'],
    ['a missing query block', [[[none, none]]], ShapeError, 'lists[0][0] must list 3 query blocks, got 2'],
    ['heads that differ between batches', [[[none, none, none]], []], ShapeError, 'lists[1] must list 1 heads, got 0'],
    ['no batch', [], ArgumentError, 'batchSize must be an integer ≥ 1, got 0'],
  ])('refuse %s', (_name, lists, error, message) => {
    expect(() => blockMaskFromLists(lists, options)).toThrow(error)
    expect(() => blockMaskFromLists(lists, options)).toThrow(message)
  })

  it('refuse tiles that kernels cannot take', () => {
    expect(() => blockMaskFromLists([[[]]], { ...options, blockN: 96 })).toThrow(
      'blockMaskFromLists: blockN must be a positive multiple of 64, got 96',
    )
  })
})

describe('pairDensity', () => {
  it.each([65, 95, 96, 97, 127])('does not count bits beyond the lengths, which other makers of masks may have set: %d keys', (seqlenK) => {
    const mask = createBlockMask(causal(), { seqlenQ: 50, seqlenK })
    const bits = Int32Array.from(mask.bits)
    for (let i = 0; i < 128; i++) for (let j = 0; j < 128; j++) if (i >= 50 || j >= seqlenK) bits[i * 4 + (j >> 5)]! |= 1 << (j & 31)
    expect(bits).not.toEqual(mask.bits)
    expect(pairDensity({ ...mask, bits })).toBe((50 * 51) / 2 / (50 * seqlenK))
  })
})

describe('visible', () => {
  const mask = createBlockMask(causal(), { seqlenQ: 100, seqlenK: 120, batchSize: 2 })
  it.each([
    ['b', [2, 0, 0, 0], 'b must be in 0..1, got 2'],
    ['h', [0, -1, 0, 0], 'h must be in 0..0, got -1'],
    ['qIdx', [0, 0, 100, 0], 'qIdx must be in 0..99, got 100'],
    ['kvIdx', [0, 0, 0, 0.5], 'kvIdx must be in 0..119, got 0.5'],
  ] as const)('refuses a bad %s', (_name, [b, h, i, j], message) => {
    expect(() => visible(mask, b, h, i, j)).toThrow(ArgumentError)
    expect(() => visible(mask, b, h, i, j)).toThrow(message)
  })

  it('takes any head where the mask has one for all', () => {
    expect([visible(mask, 1, 7, 5, 5), visible(mask, 1, 7, 5, 6)]).toEqual([true, false])
  })
})

describe('maskModOf', () => {
  const blocks = fc.record({ blockM: fc.constantFrom(64, 128), blockN: fc.constantFrom(64, 128) })
  it('cuts a mask into other tiles', () => {
    fc.assert(
      fc.property(anyMask, blocks, blocks, (maskMod, from, to) => {
        const cut = createBlockMask(maskMod, { seqlenQ: 96, seqlenK: 90, ...from })
        expect(createBlockMask(maskModOf(cut), { ...cut, ...to })).toEqual(createBlockMask(maskMod, { ...cut, ...to }))
      }),
      { numRuns: 60 },
    )
  })
})
