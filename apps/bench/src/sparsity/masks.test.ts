import { blockLists, density, pairDensity, visible } from '@tilegrad/block-sparse'
import { describe, expect, it } from 'vitest'
import { blockMaskOf } from './masks'

describe('balanced masks', () => {
  const blockMask = blockMaskOf({ kind: 'balanced', blocks: 4, blockSize: 64, seed: 5 }, 1024)
  const rows = blockLists(blockMask)[0]?.[0] ?? []

  it('have as many tiles in every row and every column, full ones, the diagonal among them', () => {
    expect(density(blockMask)).toBe(4 / 16)
    expect(rows.map(({ full, partial }) => [full.length, partial.length])).toEqual(Array(16).fill([4, 0]))
    const perKeyBlock = Array.from({ length: 16 }, (_, nBlock) => rows.filter(({ full }) => full.includes(nBlock)).length)
    expect(perKeyBlock).toEqual(Array(16).fill(4))
    expect(rows.every(({ full }, mBlock) => full.includes(mBlock))).toBe(true)
  })

  it('depend on the seed', () => {
    const of = (seed: number) => blockMaskOf({ kind: 'balanced', blocks: 4, blockSize: 64, seed }, 1024).kvBlocks
    expect(of(5)).toEqual(blockMask.kvBlocks)
    expect(of(6)).not.toEqual(blockMask.kvBlocks)
  })

  it('are dense with all blocks and the diagonal with one, and refuse more blocks than there are', () => {
    const of = (blocks: number) => blockMaskOf({ kind: 'balanced', blocks, blockSize: 64, seed: 1 }, 512)
    expect(density(of(8))).toBe(1)
    expect([...of(1).kvBlocks]).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect(() => of(9)).toThrow('8 blocks cannot visit 9')
  })
})

it('butterfly blocks are full, 1 + log2 n in a row', () => {
  const blockMask = blockMaskOf({ kind: 'butterfly', blockSize: 128 }, 2048)
  expect(density(blockMask)).toBe(5 / 16)
  expect(pairDensity(blockMask)).toBe(5 / 16)
})

it('Longformer sees half a window on either side, and the global tokens see and are seen', () => {
  const blockMask = blockMaskOf({ kind: 'longformer', window: 512, globalTokens: 1 }, 2048)
  const row = (i: number) => Array.from({ length: 2048 }, (_, j) => j).filter((j) => visible(blockMask, 0, 0, i, j))
  expect(row(0)).toHaveLength(2048)
  expect(row(1000)).toEqual([0, ...Array.from({ length: 513 }, (_, n) => 744 + n)])
})

it('BigBird visits window, global and random blocks', () => {
  const rows = blockLists(blockMaskOf({ kind: 'bigbird', seed: 1 }, 2048))[0]?.[0] ?? []
  expect(rows[0]?.full).toHaveLength(32)
  expect(rows[10]?.full).toHaveLength(8)
  expect(rows[10]?.full).toEqual(expect.arrayContaining([0, 1, 9, 10, 11]))
})
