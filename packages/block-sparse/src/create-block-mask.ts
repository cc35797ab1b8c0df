import type { BlockMask } from '@tilegrad/tensor'
import { BlockMaskAssembly, type BlockMaskSizes, checkSizes, tileAt } from './assemble'
import type { MaskMod } from './mask-mod'
import { TileMasks } from './tile-masks'

/** Sizes of the mask to make. */
export interface CreateBlockMaskOptions {
  /** B, or 1 (default) if the mask does not depend on b. */
  readonly batchSize?: number
  /** Hq, or 1 (default) if the mask does not depend on h. */
  readonly nHeads?: number
  /** Queries; with cuSeqlens, those of the longest sequence. */
  readonly seqlenQ: number
  readonly seqlenK: number
  /** Query rows of a tile, a multiple of 64. Default 128. */
  readonly blockM?: number
  /** Keys of a tile, a multiple of 64. Default 128. */
  readonly blockN?: number
}

/**
 * The block mask of `maskMod`: which tiles of the Sq × Sk scores are full, partial or empty, exactly. What `maskMod.tileBound` calls partial
 * is looked at pair by pair and may turn out to be full or empty.
 *
 * Memory: O(tiles) and one bit mask per distinct partial tile, never a dense Sq × Sk. Time: O(tiles) for a mask with a bound, plus
 * blockM·blockN calls of `maskMod` for each partial tile without a known pattern; without a bound, Sq·Sk calls per batch and head.
 *
 * @throws ArgumentError if a size is out of range or a bound is none of 'full', 'partial', 'empty'.
 */
export function createBlockMask(maskMod: MaskMod, options: CreateBlockMaskOptions): BlockMask {
  const { batchSize = 1, nHeads = 1, seqlenQ, seqlenK, blockM = 128, blockN = 128 } = options
  const sizes: BlockMaskSizes = { batchSize, nHeads, seqlenQ, seqlenK, blockM, blockN }
  checkSizes('createBlockMask', sizes)
  const masks = new TileMasks('createBlockMask', maskMod, blockM, blockN)
  const assembly = new BlockMaskAssembly(sizes)
  const nMBlocks = Math.ceil(seqlenQ / blockM)
  const nNBlocks = Math.ceil(seqlenK / blockN)
  for (let b = 0; b < batchSize; b++) {
    for (let h = 0; h < nHeads; h++) {
      for (let mBlock = 0; mBlock < nMBlocks; mBlock++) {
        for (let nBlock = 0; nBlock < nNBlocks; nBlock++) assembly.push(nBlock, masks.classify(tileAt(sizes, b, h, mBlock, nBlock)))
        assembly.endRow()
      }
    }
  }
  return assembly.finish('createBlockMask', masks.bits())
}
