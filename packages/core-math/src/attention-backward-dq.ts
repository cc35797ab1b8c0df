import { type QueryHead, tileGradients } from './attention-backward-tile'
import { addScaled, type Rows, scaleRow, tileSchedule, zeroRows } from './attention-problem'
import type { TileSizes } from './schedule'

/** dQ of one query head: query blocks outside, the key blocks that they see inside. Each task owns its rows of dQ. */
export function attentionBackwardDq(head: QueryHead, k: Rows, v: Rows, tiles: TileSizes): Float64Array[] {
  const { seqlenQ, headDim, softmaxScale } = head.problem
  const schedule = tileSchedule(head.problem, tiles)
  const dq = zeroRows(seqlenQ, headDim)
  for (let mBlock = 0; mBlock < schedule.nMBlocks; mBlock++) {
    const rows = schedule.rowBlock(mBlock)
    for (const tile of schedule.tilesOfRows(mBlock)) {
      // 1. load the K and V tiles (2. the Q and dout tiles stay)
      const keys = schedule.keyBlock(tile.nBlock)
      const kTile = k.slice(keys.begin, keys.end)
      const { ds } = tileGradients(head, kTile, v.slice(keys.begin, keys.end), schedule, tile)
      // 7. dQ += dS·K
      ds.forEach((row, r) => {
        kTile.forEach((key, j) => {
          addScaled(dq[rows.begin + r] as Float64Array, key, row[j] as number)
        })
      })
    }
    // 9. write dQ, with the softmax scale that S carries
    for (let i = rows.begin; i < rows.end; i++) scaleRow(dq[i] as Float64Array, softmaxScale)
  }
  return dq
}
