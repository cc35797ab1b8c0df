import { type QueryHead, scoreGradients, tileGradients } from './attention-backward-tile'
import { addScaled, type Rows, scaleRow, tileSchedule, zeroRows } from './attention-problem'
import type { TileSchedule, TileSizes } from './schedule'

/**
 * dK and dV of one key head: key blocks outside, and inside the query heads that share it and the query blocks that see
 * the key block. Each task owns its rows of dK and dV, so none is shared. Heads differ in their masks, so each has its schedule.
 * The gradients of bias, added to each head's dbias, and of ALiBi's slopes come with it, summed in the order of the visits.
 */
export function attentionBackwardDkdv(
  heads: readonly [QueryHead, ...QueryHead[]],
  k: Rows,
  v: Rows,
  tiles: TileSizes,
): { dk: Float64Array[]; dv: Float64Array[]; dalibiSlopes: Float64Array } {
  const { seqlenK, headDim, headDimV, softmaxScale } = heads[0].problem
  const schedules = heads.map(({ problem }) => tileSchedule(problem, tiles)) as [TileSchedule, ...TileSchedule[]]
  const dk = zeroRows(seqlenK, headDim)
  const dv = zeroRows(seqlenK, headDimV)
  const dalibiSlopes = new Float64Array(heads.length)
  for (let nBlock = 0; nBlock < schedules[0].nNBlocks; nBlock++) {
    // 1. load the K and V tiles
    const keys = schedules[0].keyBlock(nBlock)
    const kTile = k.slice(keys.begin, keys.end)
    const vTile = v.slice(keys.begin, keys.end)
    for (const [h, head] of heads.entries()) {
      const schedule = schedules[h] as TileSchedule
      for (const tile of schedule.tilesOfKeys(nBlock)) {
        // 2. load the Q and dout tiles
        const rows = schedule.rowBlock(tile.mBlock)
        const { p, ds, dscores } = tileGradients(head, kTile, vTile, schedule, tile)
        dalibiSlopes[h] = (dalibiSlopes[h] as number) + scoreGradients(head, dscores, rows.begin, keys.begin)
        // 8. dV += Pᵀ·dout and dK += dSᵀ·Q
        for (let j = 0; j < kTile.length; j++) {
          for (let r = 0; r < p.length; r++) {
            addScaled(dv[keys.begin + j] as Float64Array, head.dout[rows.begin + r] as Float64Array, p[r]?.[j] as number)
            addScaled(dk[keys.begin + j] as Float64Array, head.q[rows.begin + r] as Float64Array, ds[r]?.[j] as number)
          }
        }
      }
    }
    // 10. write dK, with the softmax scale that S carries, and dV
    for (let j = keys.begin; j < keys.end; j++) scaleRow(dk[j] as Float64Array, softmaxScale)
  }
  return { dk, dv, dalibiSlopes }
}
