import type { BlockMask } from '@tilegrad/tensor'

/** One tile of a BlockMask. */
export interface MaskTile {
  readonly mBlock: number
  readonly nBlock: number
  /** −1: every pair is visible. Else the index of its bit mask. */
  readonly bits: number
}

/** The part of a BlockMask that one head of one sequence sees. */
export class HeadMask {
  readonly blockM: number
  readonly blockN: number
  /** Its first query block in kvOffsets. */
  private readonly firstRow: number
  /** Its first key block in qOffsets. */
  private readonly firstColumn: number

  constructor(
    private readonly mask: BlockMask,
    b: number,
    h: number,
  ) {
    this.blockM = mask.blockM
    this.blockN = mask.blockN
    const head = (mask.batchSize === 1 ? 0 : b) * mask.nHeads + (mask.nHeads === 1 ? 0 : h)
    this.firstRow = head * Math.ceil(mask.seqlenQ / mask.blockM)
    this.firstColumn = head * Math.ceil(mask.seqlenK / mask.blockN)
  }

  /** Tiles that query block mBlock visits, nBlock ascending. */
  tilesOfRows(mBlock: number): MaskTile[] {
    const { kvOffsets, kvBlocks, kvBits } = this.mask
    const [begin, end] = [kvOffsets[this.firstRow + mBlock] as number, kvOffsets[this.firstRow + mBlock + 1] as number]
    return Array.from(kvBlocks.subarray(begin, end), (nBlock, t) => ({ mBlock, nBlock, bits: kvBits[begin + t] as number }))
  }

  /** Tiles by which key block nBlock is visited, mBlock ascending. */
  tilesOfKeys(nBlock: number): MaskTile[] {
    const { qOffsets, qBlocks, qBits } = this.mask
    const [begin, end] = [qOffsets[this.firstColumn + nBlock] as number, qOffsets[this.firstColumn + nBlock + 1] as number]
    return Array.from(qBlocks.subarray(begin, end), (mBlock, t) => ({ mBlock, nBlock, bits: qBits[begin + t] as number }))
  }

  /** Whether query i sees key j. */
  visible(i: number, j: number): boolean {
    const tile = this.find(this.firstRow + Math.floor(i / this.blockM), Math.floor(j / this.blockN))
    if (tile === undefined) return false
    if (tile === -1) return true
    const word = (tile * this.blockM + (i % this.blockM)) * (this.blockN / 32) + ((j % this.blockN) >> 5)
    return (((this.mask.bits[word] as number) >>> (j & 31)) & 1) === 1
  }

  /** The bits of tile nBlock of a row of tiles, undefined where it is absent: tiles are sorted, so halving finds it. */
  private find(row: number, nBlock: number): number | undefined {
    const { kvOffsets, kvBlocks, kvBits } = this.mask
    let [low, high] = [kvOffsets[row] as number, kvOffsets[row + 1] as number]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((kvBlocks[middle] as number) < nBlock) low = middle + 1
      else high = middle
    }
    return low < (kvOffsets[row + 1] as number) && kvBlocks[low] === nBlock ? kvBits[low] : undefined
  }
}
