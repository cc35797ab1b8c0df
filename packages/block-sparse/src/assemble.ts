import { type BlockMask, checkBlockMask } from '@tilegrad/tensor'
import { checkInteger, checkMultiple } from './check'
import type { MaskTile } from './mask-mod'
import { EMPTY } from './tile-masks'

/** The sizes of a BlockMask. */
export type BlockMaskSizes = Pick<BlockMask, 'batchSize' | 'nHeads' | 'seqlenQ' | 'seqlenK' | 'blockM' | 'blockN'>

/** @throws ArgumentError in the name of `fn`. */
export function checkSizes(fn: string, { batchSize, nHeads, seqlenQ, seqlenK, blockM, blockN }: BlockMaskSizes): void {
  checkInteger(fn, 'batchSize', batchSize, 1)
  checkInteger(fn, 'nHeads', nHeads, 1)
  checkInteger(fn, 'seqlenQ', seqlenQ, 0)
  checkInteger(fn, 'seqlenK', seqlenK, 0)
  checkMultiple(fn, 'blockM', blockM, 64)
  checkMultiple(fn, 'blockN', blockN, 64)
}

/** Tile (mBlock, nBlock), cut off at the sequence lengths. */
export function tileAt(sizes: BlockMaskSizes, b: number, h: number, mBlock: number, nBlock: number): MaskTile {
  const { seqlenQ, seqlenK, blockM, blockN } = sizes
  return {
    b,
    h,
    qBegin: mBlock * blockM,
    qEnd: Math.min(seqlenQ, (mBlock + 1) * blockM),
    kvBegin: nBlock * blockN,
    kvEnd: Math.min(seqlenK, (nBlock + 1) * blockN),
  }
}

/** A BlockMask row by row of tiles: its arrays grow with the tiles that are put in. */
export class BlockMaskAssembly {
  readonly #blocks = new Int32List()
  readonly #bits = new Int32List()
  readonly #offsets = new Int32List()

  constructor(readonly sizes: BlockMaskSizes) {
    this.#offsets.push(0)
  }

  /** The next tile of the row, nBlock ascending; EMPTY ones are left out. */
  push(nBlock: number, bits: number): void {
    if (bits === EMPTY) return
    this.#blocks.push(nBlock)
    this.#bits.push(bits)
  }

  /** Rows end in the order (b, h, mBlock). */
  endRow(): void {
    this.#offsets.push(this.#blocks.length)
  }

  /** @throws ArgumentError, ShapeError in the name of `fn`, if what was put in is no sound mask. */
  finish(fn: string, bits: Int32Array): BlockMask {
    const rows = { kvOffsets: this.#offsets.toArray(), kvBlocks: this.#blocks.toArray(), kvBits: this.#bits.toArray() }
    const mask = { ...this.sizes, ...rows, ...transpose(this.sizes, rows), bits }
    checkBlockMask(fn, mask)
    return mask
  }
}

type Rows = Pick<BlockMask, 'kvOffsets' | 'kvBlocks' | 'kvBits'>
type Columns = Pick<BlockMask, 'qOffsets' | 'qBlocks' | 'qBits'>

/** Counts the tiles of each key block, then deals them out in the order of the query blocks. */
function transpose({ batchSize, nHeads, seqlenQ, seqlenK, blockM, blockN }: BlockMaskSizes, rows: Rows): Columns {
  const { kvOffsets, kvBlocks, kvBits } = rows
  const nMBlocks = Math.ceil(seqlenQ / blockM)
  const nNBlocks = Math.ceil(seqlenK / blockN)
  const qOffsets = new Int32Array(batchSize * nHeads * nNBlocks + 1)
  const eachTile = (visit: (column: number, mBlock: number, tile: number) => void) => {
    for (let row = 0; row < kvOffsets.length - 1; row++) {
      const columns = Math.floor(row / nMBlocks) * nNBlocks
      for (let t = kvOffsets[row]!; t < kvOffsets[row + 1]!; t++) visit(columns + kvBlocks[t]!, row % nMBlocks, t)
    }
  }
  eachTile((column) => qOffsets[column + 1]!++)
  for (let column = 1; column < qOffsets.length; column++) qOffsets[column]! += qOffsets[column - 1]!
  const next = qOffsets.slice()
  const qBlocks = new Int32Array(kvBlocks.length)
  const qBits = new Int32Array(kvBlocks.length)
  eachTile((column, mBlock, tile) => {
    const at = next[column]!++
    qBlocks[at] = mBlock
    qBits[at] = kvBits[tile]!
  })
  return { qOffsets, qBlocks, qBits }
}

/** Int32Array that grows by doubling. */
class Int32List {
  #data = new Int32Array(64)
  length = 0

  push(value: number): void {
    if (this.length === this.#data.length) {
      const larger = new Int32Array(2 * this.length)
      larger.set(this.#data)
      this.#data = larger
    }
    this.#data[this.length++] = value
  }

  toArray(): Int32Array {
    return this.#data.slice(0, this.length)
  }
}
