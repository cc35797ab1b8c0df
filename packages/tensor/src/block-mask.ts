/**
 * Which tiles of the Sq × Sk score matrix attention visits, as compressed rows of tiles and their transpose: O(tiles) memory, and one
 * bit mask per kind of partial tile. `@tilegrad/block-sparse` builds it; kernels read it.
 *
 * Tile (mBlock, nBlock) holds queries [mBlock·blockM, …) and keys [nBlock·blockN, …), whatever the lengths: block masks count from the first
 * query and the first key. With cuSeqlens every sequence counts from its own start, and tiles past its end are ignored.
 *
 * Host arrays, so that one mask serves every backend and is checked before any work is enqueued. They must not be changed afterwards.
 */
export interface BlockMask {
  /** B, or 1: the same mask for all. */
  readonly batchSize: number
  /** Hq, or 1: the same mask for all. */
  readonly nHeads: number
  /** Queries that the mask covers: seqlenQ of attention; with cuSeqlens at least the longest. */
  readonly seqlenQ: number
  readonly seqlenK: number
  /** Query rows of a tile: a multiple of 64. */
  readonly blockM: number
  /** Keys of a tile: a multiple of 64. */
  readonly blockN: number
  /** [batchSize·nHeads·⌈seqlenQ/blockM⌉ + 1], from 0, ascending: query block r = (b·nHeads + h)·nMBlocks + mBlock visits the tiles [kvOffsets[r], kvOffsets[r+1]) of kvBlocks. */
  readonly kvOffsets: Int32Array
  /** [tiles] key blocks, strictly ascending within a query block. */
  readonly kvBlocks: Int32Array
  /** [tiles] −1: every pair of the tile is visible. Else the tile's mask in `bits`. */
  readonly kvBits: Int32Array
  /** The transpose: [batchSize·nHeads·⌈seqlenK/blockN⌉ + 1], key block (b·nHeads + h)·nNBlocks + nBlock is visited by the tiles [qOffsets[c], qOffsets[c+1]) of qBlocks. */
  readonly qOffsets: Int32Array
  /** [tiles] query blocks, strictly ascending within a key block. */
  readonly qBlocks: Int32Array
  /** [tiles] as kvBits. */
  readonly qBits: Int32Array
  /** [masks, blockM, blockN/32]: bit j mod 32 of word [m, i, ⌊j/32⌋] says whether query i of the tile sees its key j. Equal tiles share a mask. */
  readonly bits: Int32Array
}
