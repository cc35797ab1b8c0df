import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { blockMaskOf } from './block-mask.testing'
import { HeadMask } from './head-mask'
import { maskRow } from './mask'
import { Schedule, TileSchedule } from './schedule'

const limit = (side: number) => fc.oneof({ weight: 3, arbitrary: fc.integer({ min: -40, max: 40 }) }, fc.constant(side))

const indices = (range: { begin: number; end: number }) => Array.from({ length: range.end - range.begin }, (_, i) => range.begin + i)
const blockAt = (block: number, size: number, length: number) => ({ begin: block * size, end: Math.min(length, (block + 1) * size) })

const schedules = fc
  .record({
    seqlenQ: fc.integer({ min: 0, max: 40 }),
    seqlenK: fc.integer({ min: 0, max: 40 }),
    diagonalMin: limit(Number.NEGATIVE_INFINITY),
    diagonalMax: limit(Number.POSITIVE_INFINITY),
    blockM: fc.integer({ min: 1, max: 17 }),
    blockN: fc.integer({ min: 1, max: 17 }),
  })
  .map((s) => ({
    ...s,
    visible: (i: number, j: number) => s.diagonalMin <= j - i && j - i <= s.diagonalMax,
    schedule: new TileSchedule(new Schedule(s.seqlenQ, s.seqlenK, s.diagonalMin, s.diagonalMax), s),
  }))

describe('TileSchedule', () => {
  it('visits exactly the tiles with a visible pair, and calls exactly those full in which every pair is visible', () => {
    fc.assert(
      fc.property(schedules, ({ schedule, visible }) => {
        const byRows = new Map<string, boolean>()
        const byKeys = new Map<string, boolean>()
        const expected = new Map<string, boolean>()
        for (let mBlock = 0; mBlock < schedule.nMBlocks; mBlock++) {
          for (const tile of schedule.tilesOfRows(mBlock)) byRows.set(`${mBlock},${tile.nBlock}`, tile.full)
          for (let nBlock = 0; nBlock < schedule.nNBlocks; nBlock++) {
            const pairs = indices(schedule.rowBlock(mBlock)).flatMap((i) => indices(schedule.keyBlock(nBlock)).map((j) => visible(i, j)))
            if (pairs.includes(true)) expected.set(`${mBlock},${nBlock}`, !pairs.includes(false))
          }
        }
        for (let nBlock = 0; nBlock < schedule.nNBlocks; nBlock++) {
          for (const tile of schedule.tilesOfKeys(nBlock)) byKeys.set(`${tile.mBlock},${nBlock}`, tile.full)
        }
        expect(byRows).toEqual(expected)
        expect(new Map([...byKeys].sort())).toEqual(new Map([...expected].sort()))
      }),
      { numRuns: 500 },
    )
  })

  it('lists tiles in ascending order and blocks that cover each sequence once', () => {
    fc.assert(
      fc.property(schedules, ({ schedule, seqlenQ, seqlenK }) => {
        const blocks = (n: number) => Array.from({ length: n }, (_, i) => i)
        expect(blocks(schedule.nMBlocks).flatMap((m) => indices(schedule.rowBlock(m)))).toEqual(blocks(seqlenQ))
        expect(blocks(schedule.nNBlocks).flatMap((n) => indices(schedule.keyBlock(n)))).toEqual(blocks(seqlenK))
        for (const m of blocks(schedule.nMBlocks)) {
          const visited = schedule.tilesOfRows(m).map((tile) => tile.nBlock)
          expect(visited).toEqual([...visited].sort((a, b) => a - b))
        }
      }),
    )
  })
})

/** A schedule with a block mask of tiles of every kind, among them some that show nothing. */
const masked = fc
  .record({
    seqlenQ: fc.integer({ min: 0, max: 200 }),
    seqlenK: fc.integer({ min: 0, max: 200 }),
    beyond: fc.integer({ min: 0, max: 80 }),
    diagonalMin: limit(Number.NEGATIVE_INFINITY),
    diagonalMax: limit(Number.POSITIVE_INFINITY),
    maskM: fc.constantFrom(64, 128),
    maskN: fc.constantFrom(64, 192),
    blockM: fc.oneof(fc.constantFrom(16, 32, 64, 128), fc.integer({ min: 1, max: 150 })),
    blockN: fc.oneof(fc.constantFrom(16, 32, 64, 128), fc.integer({ min: 1, max: 150 })),
    h: fc.nat(1),
    salt: fc.nat(9),
  })
  .map((s) => {
    const kind = (h: number, i: number, j: number) => (3 * Math.floor(i / s.maskM) + 2 * Math.floor(j / s.maskN) + h + s.salt) % 4
    const allowed = (_: number, h: number, i: number, j: number) =>
      kind(h, i, j) === 1 || (kind(h, i, j) >= 2 && (i + j * s.salt) % 3 === 0)
    const lengths = { seqlenQ: s.seqlenQ + s.beyond, seqlenK: s.seqlenK + s.beyond }
    const mask = blockMaskOf(allowed, { batchSize: 1, nHeads: 2, ...lengths, blockM: s.maskM, blockN: s.maskN })
    const inBand = (i: number, j: number) => s.diagonalMin <= j - i && j - i <= s.diagonalMax
    const band = new Schedule(s.seqlenQ, s.seqlenK, s.diagonalMin, s.diagonalMax, new HeadMask(mask, 0, s.h))
    // Of the tile of the mask that (i, j) is in: whether it shows some pair, and whether all.
    const tiles = Array.from({ length: Math.ceil(lengths.seqlenQ / s.maskM) }, (_, m) =>
      Array.from({ length: Math.ceil(lengths.seqlenK / s.maskN) }, (_, n) => {
        const pairs = indices(blockAt(m, s.maskM, lengths.seqlenQ)).flatMap((i) =>
          indices(blockAt(n, s.maskN, lengths.seqlenK)).map((j) => allowed(0, s.h, i, j)),
        )
        return { some: pairs.includes(true), all: !pairs.includes(false) }
      }),
    )
    const tileOf = (i: number, j: number) => tiles[Math.floor(i / s.maskM)]?.[Math.floor(j / s.maskN)]
    return {
      ...s,
      inBand,
      shown: (i: number, j: number) => tileOf(i, j)?.all === true,
      listed: (i: number, j: number) => tileOf(i, j)?.some === true,
      visible: (i: number, j: number) => inBand(i, j) && allowed(0, s.h, i, j),
      schedule: new TileSchedule(band, s),
    }
  })

describe('TileSchedule with a block mask', () => {
  it('visits the tiles with a pair of the band and a listed tile of the mask, and calls full those all of whose pairs full tiles show', () => {
    fc.assert(
      fc.property(masked, ({ schedule, inBand, shown, listed }) => {
        const expected = new Map<string, boolean>()
        const byRows = new Map<string, boolean>()
        const byKeys = new Map<string, boolean>()
        for (let mBlock = 0; mBlock < schedule.nMBlocks; mBlock++) {
          for (const tile of schedule.tilesOfRows(mBlock)) byRows.set(`${tile.mBlock},${tile.nBlock}`, tile.full)
          for (let nBlock = 0; nBlock < schedule.nNBlocks; nBlock++) {
            let [reached, overlaps, full] = [false, false, true]
            for (const i of indices(schedule.rowBlock(mBlock))) {
              for (const j of indices(schedule.keyBlock(nBlock))) {
                reached ||= inBand(i, j)
                overlaps ||= listed(i, j)
                full &&= inBand(i, j) && shown(i, j)
              }
            }
            if (reached && overlaps) expected.set(`${mBlock},${nBlock}`, full)
          }
        }
        for (let nBlock = 0; nBlock < schedule.nNBlocks; nBlock++) {
          const tiles = schedule.tilesOfKeys(nBlock)
          for (const tile of tiles) byKeys.set(`${tile.mBlock},${tile.nBlock}`, tile.full)
          expect(tiles.map((tile) => tile.mBlock)).toEqual(tiles.map((tile) => tile.mBlock).sort((a, b) => a - b))
        }
        const inOrder = [...expected.keys()]
        expect([...byRows.keys()]).toEqual(inOrder)
        expect(byRows).toEqual(expected)
        expect(new Map([...byKeys].sort())).toEqual(new Map([...expected].sort()))
      }),
      { numRuns: 50 },
    )
  })

  it('hides what is not visible in a row of keys', () => {
    fc.assert(
      fc.property(masked, fc.nat(199), fc.nat(200), fc.nat(200), ({ schedule, seqlenQ, seqlenK, visible }, at, a, b) => {
        if (seqlenQ === 0) return
        const i = at % seqlenQ
        const [begin, end] = [Math.min(a, b, seqlenK), Math.min(seqlenK, Math.max(a, b))]
        const row = new Float64Array(end - begin).fill(1)
        maskRow(schedule.schedule, i, begin, end, row, 0)
        expect([...row]).toEqual(indices({ begin, end }).map((j) => (visible(i, j) ? 1 : 0)))
      }),
      { numRuns: 100 },
    )
  })
})

describe('maskRow', () => {
  it('hides exactly the keys of a tile that the query does not see', () => {
    fc.assert(
      fc.property(schedules, fc.nat(39), fc.nat(40), fc.nat(40), ({ schedule, visible }, i, a, b) => {
        const [begin, end] = [Math.min(a, b), Math.max(a, b)]
        const row = Float64Array.from({ length: end - begin }, (_, j) => j)
        maskRow(schedule.schedule, i, begin, end, row, Number.NEGATIVE_INFINITY)
        const expected = indices({ begin, end }).map((j, at) =>
          j < schedule.schedule.seqlenK && visible(i, j) ? at : Number.NEGATIVE_INFINITY,
        )
        expect([...row]).toEqual(expected)
      }),
      { numRuns: 500 },
    )
  })
})
