import { ArgumentError, type BlockMask, ShapeError } from '@tilegrad/tensor'
import { BlockMaskAssembly, type BlockMaskSizes, checkSizes, tileAt } from './assemble'
import type { MaskMod } from './mask-mod'
import { EMPTY, FULL, TileMasks } from './tile-masks'
import { nBlocksOf } from './visible'

/** The key blocks that one query block visits, each list strictly ascending. */
export interface BlockList {
  /** Every pair is visible. */
  readonly full: readonly number[]
  /** A mask function says which pairs are visible. */
  readonly partial: readonly number[]
}

/** `lists[b][h][mBlock]`. */
export type BlockLists = readonly (readonly (readonly BlockList[])[])[]

/** Sizes of the mask that lists describe. */
export interface BlockMaskFromListsOptions {
  readonly seqlenQ: number
  readonly seqlenK: number
  /** Query rows of a tile, a multiple of 64. Default 128. */
  readonly blockM?: number
  /** Keys of a tile, a multiple of 64. Default 128. */
  readonly blockN?: number
  /** Which pairs of the partial tiles are visible; required if there are any. Full tiles do not ask it. */
  readonly maskMod?: MaskMod
}

const FN = 'blockMaskFromLists'

/**
 * The block mask of explicit lists: `lists[b][h][mBlock]`, with one entry for b and h where the mask is the same for all. A partial tile in which
 * `maskMod` shows all pairs becomes full, one in which it shows none is left out.
 *
 * @throws ArgumentError, ShapeError if a list is unsorted, names a block out of range, or lists are missing.
 */
export function blockMaskFromLists(lists: BlockLists, options: BlockMaskFromListsOptions): BlockMask {
  const { seqlenQ, seqlenK, blockM = 128, blockN = 128, maskMod } = options
  const batchSize = lists.length
  const nHeads = lists[0]?.length ?? 0
  const sizes: BlockMaskSizes = { batchSize, nHeads, seqlenQ, seqlenK, blockM, blockN }
  checkSizes(FN, sizes)
  const masks = maskMod && new TileMasks(FN, maskMod, blockM, blockN)
  const assembly = new BlockMaskAssembly(sizes)
  const nMBlocks = Math.ceil(seqlenQ / blockM)
  const nNBlocks = Math.ceil(seqlenK / blockN)
  for (const [b, heads] of lists.entries()) {
    checkLength(`lists[${b}]`, heads, nHeads, 'heads')
    for (const [h, rows] of heads.entries()) {
      checkLength(`lists[${b}][${h}]`, rows, nMBlocks, 'query blocks')
      for (const [mBlock, list] of rows.entries()) {
        for (const { nBlock, full } of merged(`lists[${b}][${h}][${mBlock}]`, list, nNBlocks)) {
          if (!full && !masks) throw new ArgumentError(FN, 'maskMod is required by partial tiles', 'none')
          const bits = full ? FULL : masks?.look(tileAt(sizes, b, h, mBlock, nBlock))
          assembly.push(nBlock, bits ?? EMPTY)
        }
        assembly.endRow()
      }
    }
  }
  return assembly.finish(FN, masks?.bits() ?? new Int32Array(0))
}

function checkLength(name: string, list: readonly unknown[], length: number, what: string): void {
  if (list.length !== length) throw new ShapeError(FN, `${name} must list ${length} ${what}`, String(list.length))
}

/** Both lists as one, ascending. */
function merged(name: string, { full, partial }: BlockList, nNBlocks: number): { nBlock: number; full: boolean }[] {
  checkBlocks(`${name}.full`, full, nNBlocks)
  checkBlocks(`${name}.partial`, partial, nNBlocks)
  const tiles = [...full.map((nBlock) => ({ nBlock, full: true })), ...partial.map((nBlock) => ({ nBlock, full: false }))]
  tiles.sort((a, b) => a.nBlock - b.nBlock)
  const twice = tiles.find(({ nBlock }, i) => nBlock === tiles[i + 1]?.nBlock)
  if (twice) throw new ArgumentError(FN, `${name} must name a block as full or as partial`, `${twice.nBlock} as both`)
  return tiles
}

function checkBlocks(name: string, blocks: readonly number[], nNBlocks: number): void {
  let previous = -1
  for (const block of blocks) {
    if (!(Number.isInteger(block) && block >= 0 && block < nNBlocks)) {
      throw new ArgumentError(FN, `${name} must hold integers in 0..${nNBlocks - 1}`, String(block))
    }
    if (block <= previous) throw new ArgumentError(FN, `${name} must ascend strictly`, `${previous} before ${block}`)
    previous = block
  }
}

/**
 * The lists of a block mask. `blockMaskFromLists(blockLists(mask), { ...mask, maskMod: maskModOf(mask) })` is the mask again.
 */
export function blockLists(mask: BlockMask): BlockLists {
  const { nMBlocks } = nBlocksOf(mask)
  const listOf = (row: number): BlockList => {
    const tiles = { full: [] as number[], partial: [] as number[] }
    for (let t = mask.kvOffsets[row]!; t < mask.kvOffsets[row + 1]!; t++) {
      tiles[mask.kvBits[t] === FULL ? 'full' : 'partial'].push(mask.kvBlocks[t]!)
    }
    return tiles
  }
  const range = (length: number) => Array.from({ length }, (_, i) => i)
  return range(mask.batchSize).map((b) =>
    range(mask.nHeads).map((h) => range(nMBlocks).map((mBlock) => listOf((b * mask.nHeads + h) * nMBlocks + mBlock))),
  )
}
