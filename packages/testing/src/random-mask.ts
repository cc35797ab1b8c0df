import type { BlockMask } from '@tilegrad/tensor'

/**
 * A block mask drawn tile by tile from a seed. What a tile is depends on its place alone, not on the lengths, so that the same mask can be asked
 * pair by pair (`maskSees`), which is what it means, and as lists of tiles (`randomMask`), which is what kernels read.
 */
export interface RandomMask {
  readonly seed: number
  readonly blockM: number
  readonly blockN: number
  /** Share of tiles that are full and that are partial; the rest is empty. */
  readonly full: number
  readonly partial: number
  /** Kinds of partial tiles, which share bits. Default 3. */
  readonly kinds?: number
  /** Another mask for each batch entry, each head. Default false. */
  readonly perBatch?: boolean
  readonly perHead?: boolean
  /** Longer than the longest sequence, for packed batches. Default as long. */
  readonly seqlenQ?: number
  readonly seqlenK?: number
}

const EMPTY = -2
const FULL = -1

/** Shares of visible pairs that kinds of partial tiles take turns with; 1/16 leaves some rows of a tile empty. */
const DENSITIES = [1 / 2, 15 / 16, 1 / 16] as const

/** Uniform in [0, 1), a function of the integers. */
function hash(...values: readonly number[]): number {
  let state = 2166136261
  for (const value of values) {
    state = Math.imul(state ^ value, 16777619)
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d)
    state ^= state >>> 13
  }
  return (state >>> 0) / 2 ** 32
}

/** EMPTY, FULL, or the kind of a partial tile. */
function tileOf({ seed, full, partial, kinds = 3 }: RandomMask, b: number, h: number, mBlock: number, nBlock: number): number {
  const at = hash(seed, b, h, mBlock, nBlock)
  if (at < full) return FULL
  return at < full + partial ? Math.floor(hash(seed + 1, b, h, mBlock, nBlock) * kinds) : EMPTY
}

function kindSees({ seed }: RandomMask, kind: number, i: number, j: number): boolean {
  return hash(seed + 2, kind, i, j) < (DENSITIES[kind % DENSITIES.length] as number)
}

/** Whether query i sees key j in head h of batch entry b. */
export function maskSees(mask: RandomMask, b: number, h: number, i: number, j: number): boolean {
  const { blockM, blockN, perBatch = false, perHead = false } = mask
  const tile = tileOf(mask, perBatch ? b : 0, perHead ? h : 0, Math.floor(i / blockM), Math.floor(j / blockN))
  return tile === FULL || (tile >= 0 && kindSees(mask, tile, i % blockM, j % blockN))
}

/** The mask as a BlockMask over these sizes. */
export function randomMask(mask: RandomMask, batchSize: number, nHeads: number, seqlenQ: number, seqlenK: number): BlockMask {
  const { blockM, blockN, kinds = 3, perBatch = false, perHead = false } = mask
  const sizes = {
    batchSize: perBatch ? batchSize : 1,
    nHeads: perHead ? nHeads : 1,
    seqlenQ: mask.seqlenQ ?? seqlenQ,
    seqlenK: mask.seqlenK ?? seqlenK,
  }
  const nMBlocks = Math.ceil(sizes.seqlenQ / blockM)
  const nNBlocks = Math.ceil(sizes.seqlenK / blockN)
  const heads = Array.from(
    { length: sizes.batchSize * sizes.nHeads },
    (_, at) => [Math.floor(at / sizes.nHeads), at % sizes.nHeads] as const,
  )
  const kv = tileRows(heads, nMBlocks, nNBlocks, (b, h, mBlock, nBlock) => tileOf(mask, b, h, mBlock, nBlock))
  const q = tileRows(heads, nNBlocks, nMBlocks, (b, h, nBlock, mBlock) => tileOf(mask, b, h, mBlock, nBlock))
  return {
    ...sizes,
    ...{ blockM, blockN },
    ...{ kvOffsets: kv.offsets, kvBlocks: kv.blocks, kvBits: kv.bits },
    ...{ qOffsets: q.offsets, qBlocks: q.blocks, qBits: q.bits },
    bits: bitMasks(blockM, blockN, kinds, (kind, i, j) => kindSees(mask, kind, i, j)),
  }
}

/** Compressed rows of the tiles that are not empty. */
function tileRows(
  heads: readonly (readonly [b: number, h: number])[],
  nRows: number,
  nColumns: number,
  tile: (b: number, h: number, row: number, column: number) => number,
): { offsets: Int32Array; blocks: Int32Array; bits: Int32Array } {
  const offsets = [0]
  const blocks: number[] = []
  const bits: number[] = []
  for (const [b, h] of heads) {
    for (let row = 0; row < nRows; row++) {
      for (let column = 0; column < nColumns; column++) {
        const kind = tile(b, h, row, column)
        if (kind === EMPTY) continue
        blocks.push(column)
        bits.push(kind)
      }
      offsets.push(blocks.length)
    }
  }
  return { offsets: Int32Array.from(offsets), blocks: Int32Array.from(blocks), bits: Int32Array.from(bits) }
}

/** [masks, blockM, blockN/32] words with bit j mod 32 for key j. */
export function bitMasks(blockM: number, blockN: number, masks: number, sees: (mask: number, i: number, j: number) => boolean): Int32Array {
  const words = blockN / 32
  const bits = new Int32Array(masks * blockM * words)
  for (let mask = 0; mask < masks; mask++) {
    for (let i = 0; i < blockM; i++) {
      for (let j = 0; j < blockN; j++) {
        if (sees(mask, i, j)) bits[(mask * blockM + i) * words + (j >>> 5)]! |= 1 << (j & 31)
      }
    }
  }
  return bits
}
