import type { BlockMask } from '../block-mask'
import { ArgumentError } from '../errors/argument-error'
import { ShapeError } from '../errors/shape-error'

/** Sides of mask tiles are multiples of this, so that the tiles of every kernel divide them. */
const BLOCK_MULTIPLE = 64

/** Masks found sound before. Their arrays are immutable by contract, and walking them costs O(tiles). */
const sound = new WeakSet<BlockMask>()

/**
 * Checks that `mask` is a sound BlockMask: every index in range and sorted, and the transpose that of the rows. O(tiles) the first time.
 * @throws ArgumentError, ShapeError in the name of `fn`.
 */
export function checkBlockMask(fn: string, mask: BlockMask): void {
  if (typeof mask !== 'object' || mask === null) throw new ArgumentError(fn, 'blockMask must be a BlockMask', String(mask))
  if (sound.has(mask)) return
  for (const name of ['batchSize', 'nHeads'] as const) checkInteger(fn, name, mask[name], 1, 1)
  for (const name of ['seqlenQ', 'seqlenK'] as const) checkInteger(fn, name, mask[name], 0, 1)
  for (const name of ['blockM', 'blockN'] as const) checkInteger(fn, name, mask[name], BLOCK_MULTIPLE, BLOCK_MULTIPLE)
  const masks = mask.batchSize * mask.nHeads
  const nMBlocks = Math.ceil(mask.seqlenQ / mask.blockM)
  const nNBlocks = Math.ceil(mask.seqlenK / mask.blockN)
  for (const name of ['kvOffsets', 'kvBlocks', 'kvBits', 'qOffsets', 'qBlocks', 'qBits', 'bits'] as const) {
    if (!(mask[name] instanceof Int32Array)) throw new ArgumentError(fn, `blockMask.${name} must be an Int32Array`, typeof mask[name])
  }
  const words = (mask.blockM * mask.blockN) / 32
  if (mask.bits.length % words !== 0) {
    throw new ShapeError(fn, `blockMask.bits must hold ${words} words per mask`, `${mask.bits.length} words`)
  }
  const nBits = mask.bits.length / words
  checkRows(fn, 'kv', { offsets: mask.kvOffsets, blocks: mask.kvBlocks, bits: mask.kvBits }, masks * nMBlocks, nNBlocks, nBits)
  checkRows(fn, 'q', { offsets: mask.qOffsets, blocks: mask.qBlocks, bits: mask.qBits }, masks * nNBlocks, nMBlocks, nBits)
  checkTranspose(fn, mask, nMBlocks, nNBlocks)
  sound.add(mask)
}

function checkInteger(fn: string, name: string, value: number, low: number, multiple: number): void {
  if (!(Number.isSafeInteger(value) && value >= low && value % multiple === 0)) {
    const what = multiple > 1 ? `a positive multiple of ${multiple}` : `an integer ≥ ${low}`
    throw new ArgumentError(fn, `blockMask.${name} must be ${what}`, String(value))
  }
}

interface TileRows {
  readonly offsets: Int32Array
  readonly blocks: Int32Array
  readonly bits: Int32Array
}

/** Compressed rows: offsets ascend from 0 to the number of tiles, blocks ascend strictly within a row, every index is in range. */
function checkRows(fn: string, side: 'kv' | 'q', { offsets, blocks, bits }: TileRows, nRows: number, nBlocks: number, nBits: number): void {
  if (offsets.length !== nRows + 1)
    throw new ShapeError(fn, `blockMask.${side}Offsets must hold ${nRows + 1} integers`, `${offsets.length}`)
  if (bits.length !== blocks.length) {
    throw new ShapeError(fn, `blockMask.${side}Bits must be as long as ${side}Blocks, ${blocks.length}`, `${bits.length}`)
  }
  if (offsets[0] !== 0 || offsets[nRows] !== blocks.length) {
    throw new ArgumentError(fn, `blockMask.${side}Offsets must go from 0 to ${blocks.length}`, `${offsets[0]} to ${offsets[nRows]}`)
  }
  for (let row = 0; row < nRows; row++) {
    const [begin, end] = [offsets[row] as number, offsets[row + 1] as number]
    if (end < begin) throw new ArgumentError(fn, `blockMask.${side}Offsets must ascend`, `${begin} before ${end}`)
    let previous = -1
    for (let t = begin; t < end; t++) {
      const block = blocks[t] as number
      if (block >= nBlocks || block < 0) throw new ArgumentError(fn, `blockMask.${side}Blocks must be in 0..${nBlocks - 1}`, String(block))
      if (block <= previous) {
        throw new ArgumentError(fn, `blockMask.${side}Blocks must ascend strictly within row ${row}`, `${previous} before ${block}`)
      }
      const mask = bits[t] as number
      if (mask < -1 || mask >= nBits) throw new ArgumentError(fn, `blockMask.${side}Bits must be in −1..${nBits - 1}`, String(mask))
      previous = block
    }
  }
}

/** Walks the rows in order: each tile must be the next of its column. */
function checkTranspose(fn: string, mask: BlockMask, nMBlocks: number, nNBlocks: number): void {
  const next = mask.qOffsets.slice(0, -1)
  const wrong = (mBlock: number, nBlock: number) =>
    new ArgumentError(fn, 'the q lists of blockMask must be the transpose of its kv lists', `a difference at tile (${mBlock}, ${nBlock})`)
  for (let row = 0; row < mask.kvOffsets.length - 1; row++) {
    const mBlock = row % nMBlocks
    const columns = Math.floor(row / nMBlocks) * nNBlocks
    for (let t = mask.kvOffsets[row] as number; t < (mask.kvOffsets[row + 1] as number); t++) {
      const column = columns + (mask.kvBlocks[t] as number)
      const at = next[column] as number
      const same = at < (mask.qOffsets[column + 1] as number) && mask.qBlocks[at] === mBlock && mask.qBits[at] === mask.kvBits[t]
      if (!same) throw wrong(mBlock, mask.kvBlocks[t] as number)
      next[column] = at + 1
    }
  }
  if (mask.qBlocks.length !== mask.kvBlocks.length) throw wrong(nMBlocks, nNBlocks)
}
