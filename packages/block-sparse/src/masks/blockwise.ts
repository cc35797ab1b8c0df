import { type MaskMod, type MaskTile, withTileBound } from '../mask-mod'

/** Whether the queries of one block see the keys of another, in head h. */
export type BlockRelation = (h: number, qBlock: number, kvBlock: number) => boolean

/**
 * A mask of blocks of `blockSize` positions, whatever the tiles of the kernels are. The bound is exact and takes as many calls of `sees` as
 * pairs of blocks meet in a tile: one, where blockSize is a multiple of the tile's sides. Queries before the first key see nothing.
 */
export function blockwise(blockSize: number, offset: number, sees: BlockRelation): MaskMod {
  const blockOf = (position: number) => Math.floor(position / blockSize)
  /** Calls `visit` for the pairs of blocks in a tile until it says false. */
  const walk = ({ h, qBegin, qEnd, kvBegin, kvEnd }: MaskTile, visit: (seen: boolean) => boolean) => {
    for (let qBlock = blockOf(qBegin + offset); qBlock <= blockOf(qEnd - 1 + offset); qBlock++) {
      for (let kvBlock = blockOf(kvBegin); kvBlock <= blockOf(kvEnd - 1); kvBlock++) {
        if (!visit(qBlock >= 0 && sees(h, qBlock, kvBlock))) return
      }
    }
  }
  return withTileBound(
    (_b, h, qIdx, kvIdx) => qIdx + offset >= 0 && sees(h, blockOf(qIdx + offset), blockOf(kvIdx)),
    (tile) => {
      let some = false
      let all = true
      walk(tile, (seen) => {
        some ||= seen
        all &&= seen
        return !some || all
      })
      if (!some) return 'empty'
      return all ? 'full' : 'partial'
    },
    (tile) => {
      const phase = (position: number) => position - blockOf(position) * blockSize
      let pattern = `${phase(tile.qBegin + offset)} ${phase(tile.kvBegin)} `
      walk(tile, (seen) => {
        pattern += seen ? '1' : '0'
        return true
      })
      return pattern
    },
  )
}
