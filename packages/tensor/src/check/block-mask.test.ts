import { describe, expect, test } from 'vitest'
import type { BlockMask } from '../block-mask'
import { checkBlockMask } from './block-mask'

/**
 * 2 query blocks of 64 and 3 key blocks of 128, one head:
 *
 *     full     partial  -
 *     -        full     partial
 */
function mask(change: Partial<Record<keyof BlockMask, unknown>> = {}): BlockMask {
  return {
    batchSize: 1,
    nHeads: 1,
    seqlenQ: 100,
    seqlenK: 300,
    blockM: 64,
    blockN: 128,
    kvOffsets: Int32Array.of(0, 2, 4),
    kvBlocks: Int32Array.of(0, 1, 1, 2),
    kvBits: Int32Array.of(-1, 0, -1, 1),
    qOffsets: Int32Array.of(0, 1, 3, 4),
    qBlocks: Int32Array.of(0, 0, 1, 1),
    qBits: Int32Array.of(-1, 0, -1, 1),
    bits: new Int32Array((2 * 64 * 128) / 32),
    ...change,
  } as BlockMask
}

const ints = (...values: number[]) => Int32Array.from(values)

test('accepts sound masks: lists, no tiles at all, no queries, and one mask for each head of each batch entry', () => {
  for (const sound of [
    mask(),
    mask({ kvOffsets: ints(0, 0, 0), qOffsets: ints(0, 0, 0, 0), kvBlocks: ints(), kvBits: ints(), qBlocks: ints(), qBits: ints() }),
    mask({ seqlenQ: 0, kvOffsets: ints(0), qOffsets: ints(0, 0, 0, 0), kvBlocks: ints(), kvBits: ints(), qBlocks: ints(), qBits: ints() }),
    {
      ...mask({ batchSize: 2, nHeads: 1, seqlenQ: 64, seqlenK: 128 }),
      ...{ kvOffsets: ints(0, 1, 1), kvBlocks: ints(0), kvBits: ints(-1), qOffsets: ints(0, 1, 1), qBlocks: ints(0), qBits: ints(-1) },
    },
  ]) {
    expect(() => checkBlockMask('f', sound)).not.toThrow()
  }
})

test('a mask that was found sound is not walked again', () => {
  const reads = { count: 0 }
  const watched = new Proxy(mask(), {
    get: (target, name) => {
      reads.count++
      return Reflect.get(target, name) as unknown
    },
  })
  checkBlockMask('f', watched)
  const first = reads.count
  checkBlockMask('f', watched)
  expect([first > 0, reads.count]).toEqual([true, first])
})

describe('refuses', () => {
  test.each<[string, Partial<Record<keyof BlockMask, unknown>>, string]>([
    ['no heads', { nHeads: 0 }, 'blockMask.nHeads must be an integer ≥ 1, got 0'],
    ['half a batch', { batchSize: 0.5 }, 'blockMask.batchSize must be an integer ≥ 1, got 0.5'],
    ['a negative length', { seqlenK: -1 }, 'blockMask.seqlenK must be an integer ≥ 0, got -1'],
    ['tiles of 16 rows', { blockM: 16 }, 'blockMask.blockM must be a positive multiple of 64, got 16'],
    ['tiles of 96 keys', { blockN: 96 }, 'blockMask.blockN must be a positive multiple of 64, got 96'],
    ['tiles of no rows', { blockM: 0 }, 'blockMask.blockM must be a positive multiple of 64, got 0'],
    ['plain arrays', { kvBlocks: [0, 1, 1, 2] }, 'blockMask.kvBlocks must be an Int32Array, got object'],
    ['lists that are missing', { qBits: undefined }, 'blockMask.qBits must be an Int32Array, got undefined'],
    ['half a bit mask', { bits: new Int32Array(100) }, 'blockMask.bits must hold 256 words per mask, got 100 words'],
    ['too few rows of tiles', { kvOffsets: ints(0, 4) }, 'blockMask.kvOffsets must hold 3 integers, got 2'],
    ['too few columns of tiles', { qOffsets: ints(0, 4) }, 'blockMask.qOffsets must hold 4 integers, got 2'],
    ['a tile without bits', { kvBits: ints(-1, 0, -1) }, 'blockMask.kvBits must be as long as kvBlocks, 4, got 3'],
    ['offsets that begin late', { kvOffsets: ints(1, 2, 4) }, 'blockMask.kvOffsets must go from 0 to 4, got 1 to 4'],
    ['offsets that end early', { kvOffsets: ints(0, 2, 3) }, 'blockMask.kvOffsets must go from 0 to 4, got 0 to 3'],
    ['offsets that fall', { qOffsets: ints(0, 1, 0, 4) }, 'blockMask.qOffsets must ascend, got 1 before 0'],
    [
      'an offset past the end',
      { kvOffsets: ints(0, 9, 3), kvBlocks: ints(0, 1, 2), kvBits: ints(-1, 0, 1) },
      'blockMask.kvOffsets must ascend, got 9 before 3',
    ],
    ['a key block out of range', { kvBlocks: ints(0, 1, 1, 3) }, 'blockMask.kvBlocks must be in 0..2, got 3'],
    ['a negative key block', { kvBlocks: ints(-1, 1, 1, 2) }, 'blockMask.kvBlocks must be in 0..2, got -1'],
    ['a query block out of range', { qBlocks: ints(0, 0, 1, 2) }, 'blockMask.qBlocks must be in 0..1, got 2'],
    ['key blocks out of order', { kvBlocks: ints(1, 0, 1, 2) }, 'blockMask.kvBlocks must ascend strictly within row 0, got 1 before 0'],
    ['a key block twice', { kvBlocks: ints(0, 0, 1, 2) }, 'blockMask.kvBlocks must ascend strictly within row 0, got 0 before 0'],
    ['query blocks out of order', { qBlocks: ints(0, 1, 0, 1) }, 'blockMask.qBlocks must ascend strictly within row 1, got 1 before 0'],
    ['a bit mask that is not there', { kvBits: ints(-1, 2, -1, 1) }, 'blockMask.kvBits must be in −1..1, got 2'],
    ['a bit mask of −2', { qBits: ints(-2, 0, -1, 1) }, 'blockMask.qBits must be in −1..1, got -2'],
    [
      'a tile that the transpose lacks',
      { qOffsets: ints(0, 1, 3, 3), qBlocks: ints(0, 0, 1), qBits: ints(-1, 0, -1) },
      'the q lists of blockMask must be the transpose of its kv lists, got a difference at tile (1, 2)',
    ],
    [
      'a tile that only the transpose has',
      { qOffsets: ints(0, 2, 4, 5), qBlocks: ints(0, 1, 0, 1, 1), qBits: ints(-1, -1, 0, -1, 1) },
      'must be the transpose of its kv lists',
    ],
    [
      'a tile that is full on one side only',
      { qBits: ints(-1, -1, -1, 1) },
      'the q lists of blockMask must be the transpose of its kv lists, got a difference at tile (0, 1)',
    ],
    ['two bit masks exchanged in the transpose', { qBits: ints(-1, 1, -1, 0) }, 'a difference at tile (0, 1)'],
  ])('%s', (_, change, message) => {
    const wrong = mask(change)
    // Twice: a mask that was refused is refused again.
    for (let i = 0; i < 2; i++) {
      expect(() => checkBlockMask('attentionForward', wrong)).toThrow(
        expect.objectContaining({ name: expect.stringMatching(/^(Argument|Shape)Error$/), message: expect.stringContaining(message) }),
      )
      expect(() => checkBlockMask('attentionForward', wrong)).toThrow(/^attentionForward: [^\n]+$/)
    }
  })

  test.each([[null], [3], ['causal']])('%j', (value) => {
    expect(() => checkBlockMask('f', value as never)).toThrow('f: blockMask must be a BlockMask')
  })
})
