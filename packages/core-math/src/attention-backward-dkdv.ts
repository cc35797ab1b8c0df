import { type QueryHead, tileGradients } from './attention-backward-tile'
import { addScaled, type HeadProblem, type Rows, scaleRow, zeroRows } from './attention-problem'
import { Schedule, TileSchedule, type TileSizes } from './schedule'

/**
 * dK and dV of one key head: key blocks outside, and inside the query heads that share it and the query blocks that see
 * the key block. Each task owns its rows of dK and dV, so none is shared.
 */
export function attentionBackwardDkdv(
  heads: readonly QueryHead[],
  k: Rows,
  v: Rows,
  problem: HeadProblem,
  tiles: TileSizes,
): { dk: Float64Array[]; dv: Float64Array[] } {
  const { seqlenQ, seqlenK, headDim, headDimV, softmaxScale, diagonalMin, diagonalMax } = problem
  const schedule = new TileSchedule(new Schedule(seqlenQ, seqlenK, diagonalMin, diagonalMax), tiles)
  const dk = zeroRows(seqlenK, headDim)
  const dv = zeroRows(seqlenK, headDimV)
  for (let nBlock = 0; nBlock < schedule.nNBlocks; nBlock++) {
    // 1. load the K and V tiles
    const keys = schedule.keyBlock(nBlock)
    const kTile = k.slice(keys.begin, keys.end)
    const vTile = v.slice(keys.begin, keys.end)
    for (const head of heads) {
      for (const tile of schedule.tilesOfKeys(nBlock)) {
        // 2. load the Q and dout tiles
        const rows = schedule.rowBlock(tile.mBlock)
        const { p, ds } = tileGradients(head, kTile, vTile, problem, schedule, tile)
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
  return { dk, dv }
}
