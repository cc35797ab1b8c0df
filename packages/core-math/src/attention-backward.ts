import { type QueryHead, scoreGradients, tileGradients } from './attention-backward-tile'
import { addScaled, type Rows, scaleRow, tileSchedule, zeroRows } from './attention-problem'
import type { TileSchedule, TileSizes } from './schedule'

/**
 * Gradient of attention for one key head and the query heads that share it, in one pass over the key blocks that also
 * accumulates dQ (arXiv 2205.14135, algorithm 4).
 *
 * attentionBackwardDkdv and attentionBackwardDq each recompute S = q·kᵀ and dP = dout·vᵀ: seven products per tile. Here there
 * are five, at the price that every key block writes to dQ. Its shares are added in ascending nBlock order, so that the
 * result does not depend on who computed them when. The gradients of bias, added to each head's dbias, and of ALiBi's slopes
 * are summed in the order of the visits too.
 */
export function attentionBackward(
  heads: readonly [QueryHead, ...QueryHead[]],
  k: Rows,
  v: Rows,
  tiles: TileSizes,
): { dq: Float64Array[][]; dk: Float64Array[]; dv: Float64Array[]; dalibiSlopes: Float64Array } {
  const { seqlenQ, seqlenK, headDim, headDimV, softmaxScale } = heads[0].problem
  // Heads differ in their masks.
  const schedules = heads.map(({ problem }) => tileSchedule(problem, tiles)) as [TileSchedule, ...TileSchedule[]]
  const dq = heads.map(() => zeroRows(seqlenQ, headDim))
  const dk = zeroRows(seqlenK, headDim)
  const dv = zeroRows(seqlenK, headDimV)
  const dalibiSlopes = new Float64Array(heads.length)
  for (let nBlock = 0; nBlock < schedules[0].nNBlocks; nBlock++) {
    // 1. load the K and V tiles
    const keys = schedules[0].keyBlock(nBlock)
    const kTile = k.slice(keys.begin, keys.end)
    const vTile = v.slice(keys.begin, keys.end)
    heads.forEach((head, h) => {
      const schedule = schedules[h] as TileSchedule
      for (const tile of schedule.tilesOfKeys(nBlock)) {
        // 2. load the Q and dout tiles
        const rows = schedule.rowBlock(tile.mBlock)
        const { p, ds, dscores } = tileGradients(head, kTile, vTile, schedule, tile)
        dalibiSlopes[h] = (dalibiSlopes[h] as number) + scoreGradients(head, dscores, rows.begin, keys.begin)
        for (let r = 0; r < p.length; r++) {
          const i = rows.begin + r
          const share = new Float64Array(headDim)
          for (let j = 0; j < kTile.length; j++) {
            // 7. the share of dQ = dS·K
            addScaled(share, kTile[j] as Float64Array, ds[r]?.[j] as number)
            // 8. dV += Pᵀ·dout and dK += dSᵀ·Q
            addScaled(dv[keys.begin + j] as Float64Array, head.dout[i] as Float64Array, p[r]?.[j] as number)
            addScaled(dk[keys.begin + j] as Float64Array, head.q[i] as Float64Array, ds[r]?.[j] as number)
          }
          // 9. add the share, with the softmax scale that S carries, after those of all earlier key blocks
          addScaled(dq[h]?.[i] as Float64Array, share, softmaxScale)
        }
      }
    })
    // 10. write dK, with the softmax scale that S carries, and dV
    for (let j = keys.begin; j < keys.end; j++) scaleRow(dk[j] as Float64Array, softmaxScale)
  }
  return { dq, dk, dv, dalibiSlopes }
}
