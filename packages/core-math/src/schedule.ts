/** Integers `[begin, end)`; empty if end ≤ begin. */
export interface Range {
  readonly begin: number
  readonly end: number
}

export function isEmpty(range: Range): boolean {
  return range.end <= range.begin
}

/**
 * Which keys a run of query rows sees, and by which queries a run of keys is seen: the one place for causal masks and
 * windows. Whatever is skipped in forward, dQ and dK/dV is skipped because of what stands here.
 *
 * Key j is visible to query i iff diagonalMin ≤ j − i ≤ diagonalMax; ±Infinity is unlimited. One schedule covers one pair
 * of sequences: a batch of sequences of different lengths has one each.
 */
export class Schedule {
  readonly diagonalMin: number
  readonly diagonalMax: number

  constructor(
    readonly seqlenQ: number,
    readonly seqlenK: number,
    diagonalMin: number,
    diagonalMax: number,
  ) {
    // A band of negative width (a window that ends where 'top-left' causality has not begun) hides everything; ±Infinity
    // keeps that true of every range below.
    this.diagonalMin = diagonalMin <= diagonalMax ? diagonalMin : Number.POSITIVE_INFINITY
    this.diagonalMax = diagonalMin <= diagonalMax ? diagonalMax : Number.NEGATIVE_INFINITY
  }

  /** Keys that query i sees. */
  visibleKeys(i: number): Range {
    return { begin: Math.max(0, i + this.diagonalMin), end: Math.min(this.seqlenK, i + this.diagonalMax + 1) }
  }

  /** Keys that some row of [rowBegin, rowEnd) sees. Neighbouring rows see ranges that touch, so together they see one range. */
  visitedKeys(rowBegin: number, rowEnd: number): Range {
    return { begin: Math.max(0, rowBegin + this.diagonalMin), end: Math.min(this.seqlenK, rowEnd + this.diagonalMax) }
  }

  /** Queries that see some key of [keyBegin, keyEnd). */
  visitedQueries(keyBegin: number, keyEnd: number): Range {
    return { begin: Math.max(0, keyBegin - this.diagonalMax), end: Math.min(this.seqlenQ, keyEnd - this.diagonalMin) }
  }

  /** Whether every row of [rowBegin, rowEnd) sees every key of [keyBegin, keyEnd): such a tile needs no mask. */
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
 * lists and know nothing else about visibility, so that a block mask only has to shorten them.
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

  /** Key blocks [nBlockMin, nBlockMax) that query block mBlock visits: exactly those with a visible pair. */
  nBlockRange(mBlock: number): { readonly nBlockMin: number; readonly nBlockMax: number } {
    const rows = this.rowBlock(mBlock)
    const { begin, end } = blocksOf(this.schedule.visitedKeys(rows.begin, rows.end), this.tiles.blockN)
    return { nBlockMin: begin, nBlockMax: end }
  }

  /** Query blocks [mBlockMin, mBlockMax) that key block nBlock visits: exactly those with a visible pair. */
  mBlockRange(nBlock: number): { readonly mBlockMin: number; readonly mBlockMax: number } {
    const keys = this.keyBlock(nBlock)
    const { begin, end } = blocksOf(this.schedule.visitedQueries(keys.begin, keys.end), this.tiles.blockM)
    return { mBlockMin: begin, mBlockMax: end }
  }

  /** The tile of two blocks. */
  tile(mBlock: number, nBlock: number): Tile {
    const rows = this.rowBlock(mBlock)
    const keys = this.keyBlock(nBlock)
    return { mBlock, nBlock, full: this.schedule.full(rows.begin, rows.end, keys.begin, keys.end) }
  }

  /** Tiles that query block mBlock visits, nBlock ascending. */
  tilesOfRows(mBlock: number): Tile[] {
    const { nBlockMin, nBlockMax } = this.nBlockRange(mBlock)
    return Array.from({ length: nBlockMax - nBlockMin }, (_, n) => this.tile(mBlock, nBlockMin + n))
  }

  /** Tiles that key block nBlock visits, mBlock ascending. */
  tilesOfKeys(nBlock: number): Tile[] {
    const { mBlockMin, mBlockMax } = this.mBlockRange(nBlock)
    return Array.from({ length: mBlockMax - mBlockMin }, (_, m) => this.tile(mBlockMin + m, nBlock))
  }
}

function blockOf(block: number, size: number, length: number): Range {
  return { begin: block * size, end: Math.min(length, (block + 1) * size) }
}

function blocksOf(range: Range, size: number): Range {
  return isEmpty(range) ? { begin: 0, end: 0 } : { begin: Math.floor(range.begin / size), end: Math.ceil(range.end / size) }
}
