import type { BlockMask } from '@tilegrad/tensor'

export type Visible = (b: number, h: number, i: number, j: number) => boolean

type Sizes = Pick<BlockMask, 'batchSize' | 'nHeads' | 'seqlenQ' | 'seqlenK' | 'blockM' | 'blockN'>

/** The BlockMask of a predicate, by asking it for every pair. */
export function blockMaskOf(visible: Visible, sizes: Sizes): BlockMask {
  const { batchSize, nHeads, seqlenQ, seqlenK, blockM, blockN } = sizes
  const [nMBlocks, nNBlocks] = [Math.ceil(seqlenQ / blockM), Math.ceil(seqlenK / blockN)]
  const words = (blockM * blockN) / 32
  const bits: number[] = []
  /** Index of the mask of a tile, −1 if all its pairs are visible, undefined if none is. */
  const maskOf = (b: number, h: number, m: number, n: number): number | undefined => {
    const mask = new Int32Array(words)
    let [all, any] = [true, false]
    for (let i = 0; i < blockM && m * blockM + i < seqlenQ; i++) {
      for (let j = 0; j < blockN && n * blockN + j < seqlenK; j++) {
        const seen = visible(b, h, m * blockM + i, n * blockN + j)
        all &&= seen
        any ||= seen
        if (seen) mask[(i * blockN + j) >> 5] = (mask[(i * blockN + j) >> 5] as number) | (1 << (j & 31))
      }
    }
    if (!any) return undefined
    if (all) return -1
    bits.push(...mask)
    return bits.length / words - 1
  }
  const kv = { offsets: [0], blocks: [] as number[], bits: [] as number[] }
  const q = { offsets: [0], blocks: [] as number[], bits: [] as number[] }
  for (let head = 0; head < batchSize * nHeads; head++) {
    const tiles = Array.from({ length: nMBlocks }, (_, m) =>
      Array.from({ length: nNBlocks }, (_, n) => maskOf(Math.floor(head / nHeads), head % nHeads, m, n)),
    )
    for (let m = 0; m < nMBlocks; m++) append(kv, tiles[m] as (number | undefined)[])
    for (let n = 0; n < nNBlocks; n++)
      append(
        q,
        tiles.map((row) => row[n]),
      )
  }
  return {
    ...sizes,
    kvOffsets: Int32Array.from(kv.offsets),
    kvBlocks: Int32Array.from(kv.blocks),
    kvBits: Int32Array.from(kv.bits),
    qOffsets: Int32Array.from(q.offsets),
    qBlocks: Int32Array.from(q.blocks),
    qBits: Int32Array.from(q.bits),
    bits: Int32Array.from(bits),
  }
}

function append(rows: { offsets: number[]; blocks: number[]; bits: number[] }, row: readonly (number | undefined)[]): void {
  row.forEach((mask, block) => {
    if (mask === undefined) return
    rows.blocks.push(block)
    rows.bits.push(mask)
  })
  rows.offsets.push(rows.blocks.length)
}
