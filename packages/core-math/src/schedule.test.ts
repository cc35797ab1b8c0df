import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { maskRow } from './mask'
import { Schedule, TileSchedule } from './schedule'

const limit = (side: number) => fc.oneof({ weight: 3, arbitrary: fc.integer({ min: -40, max: 40 }) }, fc.constant(side))

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

const indices = (range: { begin: number; end: number }) => Array.from({ length: range.end - range.begin }, (_, i) => range.begin + i)

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
