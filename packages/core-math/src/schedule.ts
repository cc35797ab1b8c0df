import type { HeadMask, MaskTile } from './head-mask'

/** Integers `[begin, end)`; empty if end ≤ begin. */
export interface Range {
  readonly begin: number
  readonly end: number
}

export function isEmpty(range: Range): boolean {
  return range.end <= range.begin
}

/**
 * Which keys a run of query rows sees, and by which queries a run of keys is seen: the one place for causal masks, windows and block
 * masks. Whatever is skipped in forward, dQ and dK/dV is skipped because of what stands here.
 *
 * Key j is visible to query i iff it is in the band, diagonalMin ≤ j − i ≤ diagonalMax (±Infinity is unlimited), and the block mask, where there
 * is one, shows it. Ranges are those of the band; TileSchedule shortens them by the mask. One schedule covers one pair of sequences:
 * a batch of sequences of different lengths has one each, and with a mask one for each head.
 */
export class Schedule {
  readonly diagonalMin: number
  readonly diagonalMax: number

  constructor(
    readonly seqlenQ: number,
    readonly seqlenK: number,
    diagonalMin: number,
    diagonalMax: number,
    readonly mask?: HeadMask,
  ) {
    // A band of negative width (a window that ends where 'top-left' causality has not begun) hides everything; ±Infinity
    // keeps that true of every range below.
    this.diagonalMin = diagonalMin <= diagonalMax ? diagonalMin : Number.POSITIVE_INFINITY
    this.diagonalMax = diagonalMin <= diagonalMax ? diagonalMax : Number.NEGATIVE_INFINITY
  }

  /** Keys in the band of query i. */
  visibleKeys(i: number): Range {
    return { begin: Math.max(0, i + this.diagonalMin), end: Math.min(this.seqlenK, i + this.diagonalMax + 1) }
  }

  /** Keys in the band of some row of [rowBegin, rowEnd). Neighbouring rows see ranges that touch, so together they see one range. */
  visitedKeys(rowBegin: number, rowEnd: number): Range {
    return { begin: Math.max(0, rowBegin + this.diagonalMin), end: Math.min(this.seqlenK, rowEnd + this.diagonalMax) }
  }

  /** Queries with some key of [keyBegin, keyEnd) in their band. */
  visitedQueries(keyBegin: number, keyEnd: number): Range {
    return { begin: Math.max(0, keyBegin - this.diagonalMax), end: Math.min(this.seqlenQ, keyEnd - this.diagonalMin) }
  }

  /** Whether every key of [keyBegin, keyEnd) is in the band of every row of [rowBegin, rowEnd). */
  full(rowBegin: number, rowEnd: number, keyBegin: number, keyEnd: number): boolean {
    return keyBegin >= rowEnd - 1 + this.diagonalMin && keyEnd - 1 <= rowBegin + this.diagonalMax && keyEnd <= this.seqlenK
  }
}

/** Sides of a tile: query rows by keys. */
export interface TileSizes {
  readonly blockM: number
  readonly blockN: number
}

/** One tile of the score matrix. A tile that is not full is partial: some of its scores must be masked. */
export interface Tile {
  readonly mBlock: number
  readonly nBlock: number
  readonly full: boolean
}

/**
 * The schedule in tiles: which ones a block of rows or a block of keys visits, in ascending order. Kernels loop over these
 * lists and know nothing else about visibility.
 *
 * With a block mask a tile is visited iff it has a pair of the band and overlaps a listed tile of the mask, and it is full iff all its pairs are in the band
 * and in full tiles of the mask. The sides of a kernel's tiles divide those of the mask's, which are multiples of 64, or are multiples of
 * them: then a tile lies within one tile of the mask, or is made of whole ones. (Here any sides do.)
 */
export class TileSchedule {
  readonly nMBlocks: number
  readonly nNBlocks: number

  constructor(
    readonly schedule: Schedule,
    readonly tiles: TileSizes,
  ) {
    this.nMBlocks = Math.ceil(schedule.seqlenQ / tiles.blockM)
    this.nNBlocks = Math.ceil(schedule.seqlenK / tiles.blockN)
  }

  /** Query rows of block mBlock. */
  rowBlock(mBlock: number): Range {
    return blockOf(mBlock, this.tiles.blockM, this.schedule.seqlenQ)
  }

  /** Keys of block nBlock. */
  keyBlock(nBlock: number): Range {
    return blockOf(nBlock, this.tiles.blockN, this.schedule.seqlenK)
  }

  /** Key blocks [nBlockMin, nBlockMax) that the band of query block mBlock reaches. */
  nBlockRange(mBlock: number): { readonly nBlockMin: number; readonly nBlockMax: number } {
    const rows = this.rowBlock(mBlock)
    const { begin, end } = blocksOf(this.schedule.visitedKeys(rows.begin, rows.end), this.tiles.blockN)
    return { nBlockMin: begin, nBlockMax: end }
  }

  /** Query blocks [mBlockMin, mBlockMax) whose band reaches key block nBlock. */
  mBlockRange(nBlock: number): { readonly mBlockMin: number; readonly mBlockMax: number } {
    const keys = this.keyBlock(nBlock)
    const { begin, end } = blocksOf(this.schedule.visitedQueries(keys.begin, keys.end), this.tiles.blockM)
    return { mBlockMin: begin, mBlockMax: end }
  }

  /** Tiles that query block mBlock visits, nBlock ascending. */
  tilesOfRows(mBlock: number): Tile[] {
    const { nBlockMin, nBlockMax } = this.nBlockRange(mBlock)
    const nBlocks = { begin: nBlockMin, end: nBlockMax }
    const { mask } = this.schedule
    if (!mask) return blocks(nBlocks).map((nBlock) => this.tile(mBlock, nBlock))
    const listed = blocks(blocksOf(this.rowBlock(mBlock), mask.blockM)).flatMap((block) => mask.tilesOfRows(block))
    return this.overlapping(mask, listed, { begin: mBlock, end: mBlock + 1 }, nBlocks)
  }

  /** Tiles that key block nBlock visits, mBlock ascending. */
  tilesOfKeys(nBlock: number): Tile[] {
    const { mBlockMin, mBlockMax } = this.mBlockRange(nBlock)
    const mBlocks = { begin: mBlockMin, end: mBlockMax }
    const { mask } = this.schedule
    if (!mask) return blocks(mBlocks).map((mBlock) => this.tile(mBlock, nBlock))
    const listed = blocks(blocksOf(this.keyBlock(nBlock), mask.blockN)).flatMap((block) => mask.tilesOfKeys(block))
    return this.overlapping(mask, listed, mBlocks, { begin: nBlock, end: nBlock + 1 })
  }

  /** The tile of two blocks. It is full if its band is, and `shown` of its pairs, those in full tiles of the mask, are all. */
  private tile(mBlock: number, nBlock: number, shown = Number.POSITIVE_INFINITY): Tile {
    const rows = this.rowBlock(mBlock)
    const keys = this.keyBlock(nBlock)
    return { mBlock, nBlock, full: this.schedule.full(rows.begin, rows.end, keys.begin, keys.end) && shown >= length(rows) * length(keys) }
  }

  /** The tiles among mBlocks × nBlocks that overlap a listed tile of the mask, in ascending order. */
  private overlapping(mask: HeadMask, listed: readonly MaskTile[], mBlocks: Range, nBlocks: Range): Tile[] {
    const { blockM, blockN } = this.tiles
    const shown = new Map<number, number>()
    for (const tile of listed) {
      const rows = blockOf(tile.mBlock, mask.blockM, this.schedule.seqlenQ)
      const keys = blockOf(tile.nBlock, mask.blockN, this.schedule.seqlenK)
      for (const mBlock of blocks(intersection(blocksOf(rows, blockM), mBlocks))) {
        for (const nBlock of blocks(intersection(blocksOf(keys, blockN), nBlocks))) {
          const pairs = length(intersection(rows, this.rowBlock(mBlock))) * length(intersection(keys, this.keyBlock(nBlock)))
          const at = mBlock * this.nNBlocks + nBlock
          shown.set(at, (shown.get(at) ?? 0) + (tile.bits === -1 ? pairs : 0))
        }
      }
    }
    const ascending = [...shown].sort(([a], [b]) => a - b)
    return ascending.map(([at, pairs]) => this.tile(Math.floor(at / this.nNBlocks), at % this.nNBlocks, pairs))
  }
}

function blockOf(block: number, size: number, length: number): Range {
  return { begin: block * size, end: Math.min(length, (block + 1) * size) }
}

function blocksOf(range: Range, size: number): Range {
  return isEmpty(range) ? { begin: 0, end: 0 } : { begin: Math.floor(range.begin / size), end: Math.ceil(range.end / size) }
}

function intersection(a: Range, b: Range): Range {
  return { begin: Math.max(a.begin, b.begin), end: Math.min(a.end, b.end) }
}

function length(range: Range): number {
  return Math.max(0, range.end - range.begin)
}

/** The integers of a range. */
function blocks(range: Range): number[] {
  return Array.from({ length: length(range) }, (_, n) => range.begin + n)
}
