import { type QueryHead, tileGradients } from './attention-backward-tile'
import { addScaled, type HeadProblem, type Rows, scaleRow, zeroRows } from './attention-problem'
import { Schedule, TileSchedule, type TileSizes } from './schedule'

/**
 * Gradient of attention for one key head and the query heads that share it, in one pass over the key blocks that also
 * accumulates dQ (arXiv 2205.14135, algorithm 4).
 *
 * attentionBackwardDkdv and attentionBackwardDq each recompute S = q·kᵀ and dP = dout·vᵀ: seven products per tile. Here there
 * are five, at the price that every key block writes to dQ. Its shares are added in ascending nBlock order, so that the
 * result does not depend on who computed them when.
 */
export function attentionBackward(
  heads: readonly QueryHead[],
  k: Rows,
  v: Rows,
  problem: HeadProblem,
  tiles: TileSizes,
): { dq: Float64Array[][]; dk: Float64Array[]; dv: Float64Array[] } {
  const { seqlenQ, seqlenK, headDim, headDimV, softmaxScale, diagonalMin, diagonalMax } = problem
  const schedule = new TileSchedule(new Schedule(seqlenQ, seqlenK, diagonalMin, diagonalMax), tiles)
  const dq = heads.map(() => zeroRows(seqlenQ, headDim))
  const dk = zeroRows(seqlenK, headDim)
  const dv = zeroRows(seqlenK, headDimV)
  for (let nBlock = 0; nBlock < schedule.nNBlocks; nBlock++) {
    // 1. load the K and V tiles
    const keys = schedule.keyBlock(nBlock)
    const kTile = k.slice(keys.begin, keys.end)
    const vTile = v.slice(keys.begin, keys.end)
    heads.forEach((head, h) => {
      for (const tile of schedule.tilesOfKeys(nBlock)) {
        // 2. load the Q and dout tiles
        const rows = schedule.rowBlock(tile.mBlock)
        const { p, ds } = tileGradients(head, kTile, vTile, problem, schedule, tile)
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
          // 9. add the share, after those of all earlier key blocks
          addScaled(dq[h]?.[i] as Float64Array, share, softmaxScale)
        }
      }
    })
    // 10. write dK, with the softmax scale that S carries, and dV
    for (let j = keys.begin; j < keys.end; j++) scaleRow(dk[j] as Float64Array, softmaxScale)
  }
  return { dq, dk, dv }
}
