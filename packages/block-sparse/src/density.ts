import type { BlockMask } from '@tilegrad/tensor'
import { FULL } from './tile-masks'
import { nBlocksOf } from './visible'

/**
 * s: the fraction of tiles that attention visits, over all batches and heads of the mask. Work and memory traffic of the scores
 * are s times those of dense attention (FlashAttention, arXiv 2205.14135, proposition 4). 0 where there are no tiles. O(1).
 */
export function density(mask: BlockMask): number {
  const { nMBlocks, nNBlocks } = nBlocksOf(mask)
  return mask.kvBlocks.length / Math.max(1, mask.batchSize * mask.nHeads * nMBlocks * nNBlocks)
}

/** The fraction of (query, key) pairs that are visible: at most `density`. 0 where there are no pairs. O(tiles + bits). */
export function pairDensity(mask: BlockMask): number {
  const { nMBlocks } = nBlocksOf(mask)
  const counted = new Map<string, number>()
  let visible = 0
  for (let row = 0; row < mask.kvOffsets.length - 1; row++) {
    const rows = Math.min(mask.blockM, mask.seqlenQ - (row % nMBlocks) * mask.blockM)
    for (let t = mask.kvOffsets[row]!; t < mask.kvOffsets[row + 1]!; t++) {
      const columns = Math.min(mask.blockN, mask.seqlenK - mask.kvBlocks[t]! * mask.blockN)
      const bits = mask.kvBits[t]!
      if (bits === FULL) {
        visible += rows * columns
        continue
      }
      const key = `${bits},${rows},${columns}`
      const pairs = counted.get(key) ?? countPairs(mask, bits, rows, columns)
      counted.set(key, pairs)
      visible += pairs
    }
  }
  return visible / Math.max(1, mask.batchSize * mask.nHeads * mask.seqlenQ * mask.seqlenK)
}

/** Visible pairs in the first rows and columns of a mask; bits beyond them mean nothing. */
function countPairs({ bits, blockM, blockN }: BlockMask, index: number, rows: number, columns: number): number {
  const words = blockN / 32
  let pairs = 0
  for (let i = 0; i < rows; i++) {
    const row = (index * blockM + i) * words
    for (let j = 0; j < columns; j += 32) {
      const inside = columns - j >= 32 ? -1 : (1 << (columns - j)) - 1
      pairs += populationCount(bits[row + j / 32]! & inside)
    }
  }
  return pairs
}

/** Set bits of a 32-bit word, by sums of ever wider fields. */
function populationCount(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555)
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333)
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
