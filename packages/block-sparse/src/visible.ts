import { ArgumentError, type BlockMask } from '@tilegrad/tensor'
import { type MaskMod, withTileBound } from './mask-mod'
import { EMPTY, FULL } from './tile-masks'

/** Blocks of queries and of keys. */
export function nBlocksOf({ seqlenQ, seqlenK, blockM, blockN }: BlockMask): { readonly nMBlocks: number; readonly nNBlocks: number } {
  return { nMBlocks: Math.ceil(seqlenQ / blockM), nNBlocks: Math.ceil(seqlenK / blockN) }
}

/**
 * The row of kvOffsets of a query block. Batch and head count on where the mask has one for all.
 * @throws ArgumentError in the name of `fn`.
 */
export function rowOf(fn: string, mask: BlockMask, b: number, h: number, mBlock: number): number {
  const batch = mask.batchSize === 1 ? 0 : b
  const head = mask.nHeads === 1 ? 0 : h
  if (!(Number.isInteger(b) && b >= 0 && batch < mask.batchSize))
    throw new ArgumentError(fn, `b must be in 0..${mask.batchSize - 1}`, String(b))
  if (!(Number.isInteger(h) && h >= 0 && head < mask.nHeads)) throw new ArgumentError(fn, `h must be in 0..${mask.nHeads - 1}`, String(h))
  return (batch * mask.nHeads + head) * nBlocksOf(mask).nMBlocks + mBlock
}

/**
 * Whether query `qIdx` sees key `kvIdx` in batch `b` and head `h` (any, where the mask has one for all). O(log of the row's tiles).
 * @throws ArgumentError if an index is out of range.
 */
export function visible(mask: BlockMask, b: number, h: number, qIdx: number, kvIdx: number): boolean {
  const { seqlenQ, seqlenK, blockM, blockN } = mask
  checkIndex('qIdx', qIdx, seqlenQ)
  checkIndex('kvIdx', kvIdx, seqlenK)
  const row = rowOf('visible', mask, b, h, Math.floor(qIdx / blockM))
  const bits = bitsAt(mask, row, Math.floor(kvIdx / blockN))
  if (bits < 0) return bits === FULL
  const bit = kvIdx % blockN
  const word = mask.bits[((bits * blockM + (qIdx % blockM)) * blockN) / 32 + (bit >> 5)]!
  return ((word >>> (bit & 31)) & 1) === 1
}

function checkIndex(name: string, index: number, length: number): void {
  if (!(Number.isInteger(index) && index >= 0 && index < length)) {
    throw new ArgumentError('visible', `${name} must be in 0..${length - 1}`, String(index))
  }
}

/** kvBits of a tile, EMPTY if the mask does not list it: binary search in the row. */
function bitsAt(mask: BlockMask, row: number, nBlock: number): number {
  let low = mask.kvOffsets[row]!
  let high = mask.kvOffsets[row + 1]!
  while (low < high) {
    const middle = (low + high) >> 1
    if (mask.kvBlocks[middle]! < nBlock) low = middle + 1
    else high = middle
  }
  return low < mask.kvOffsets[row + 1]! && mask.kvBlocks[low] === nBlock ? mask.kvBits[low]! : EMPTY
}

/**
 * A block mask as a mask function: to combine it with others, or to cut it into other tiles. Defined within the mask's own lengths.
 * Its bound is exact where a tile lies within one tile of the mask.
 */
export function maskModOf(mask: BlockMask): MaskMod {
  return withTileBound(
    (b, h, qIdx, kvIdx) => visible(mask, b, h, qIdx, kvIdx),
    ({ b, h, qBegin, qEnd, kvBegin, kvEnd }) => {
      const mBlock = Math.floor(qBegin / mask.blockM)
      const nBlock = Math.floor(kvBegin / mask.blockN)
      if (qEnd > (mBlock + 1) * mask.blockM || kvEnd > (nBlock + 1) * mask.blockN) return 'partial'
      const bits = bitsAt(mask, rowOf('maskModOf', mask, b, h, mBlock), nBlock)
      if (bits === EMPTY) return 'empty'
      return bits === FULL ? 'full' : 'partial'
    },
  )
}
