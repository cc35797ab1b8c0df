import type { BlockMask } from '@tilegrad/tensor'
import { checkInteger } from './check'
import { density, pairDensity } from './density'
import { FULL } from './tile-masks'
import { nBlocksOf, rowOf } from './visible'

/** What a picture shows. */
export interface PictureOptions {
  /** Which batch. Default 0. */
  readonly b?: number
  /** Which head. Default 0. */
  readonly h?: number
  /** Most cells along a side: larger masks show several tiles in one cell. */
  readonly maxCells?: number
}

/** What a cell of the picture says of its tiles: all absent, all full, or anything else. */
export type Cell = 'empty' | 'partial' | 'full'

/** The tiles of one batch and head, drawn together until they fit. */
export interface Picture {
  /** [queries][keys]. */
  readonly cells: readonly (readonly Cell[])[]
  /** Tiles along each side of a cell. */
  readonly tilesPerCell: number
}

export function drawPicture(fn: string, mask: BlockMask, { b = 0, h = 0 }: PictureOptions, maxCells: number): Picture {
  checkInteger(fn, 'maxCells', maxCells, 1)
  const { nMBlocks, nNBlocks } = nBlocksOf(mask)
  const first = rowOf(fn, mask, b, h, 0)
  const tilesPerCell = Math.max(1, Math.ceil(Math.max(nMBlocks, nNBlocks) / maxCells))
  const rows = Math.ceil(nMBlocks / tilesPerCell)
  const columns = Math.ceil(nNBlocks / tilesPerCell)
  const listed = new Int32Array(rows * columns)
  const full = new Int32Array(rows * columns)
  for (let mBlock = 0; mBlock < nMBlocks; mBlock++) {
    const row = Math.floor(mBlock / tilesPerCell) * columns
    for (let t = mask.kvOffsets[first + mBlock]!; t < mask.kvOffsets[first + mBlock + 1]!; t++) {
      const cell = row + Math.floor(mask.kvBlocks[t]! / tilesPerCell)
      listed[cell]!++
      if (mask.kvBits[t] === FULL) full[cell]!++
    }
  }
  const sideOf = (cell: number, nBlocks: number) => Math.min(tilesPerCell, nBlocks - cell * tilesPerCell)
  const cellAt = (row: number, column: number): Cell => {
    const at = row * columns + column
    if (listed[at] === 0) return 'empty'
    return full[at] === sideOf(row, nMBlocks) * sideOf(column, nNBlocks) ? 'full' : 'partial'
  }
  const range = (length: number) => Array.from({ length }, (_, i) => i)
  return { cells: range(rows).map((row) => range(columns).map((column) => cellAt(row, column))), tilesPerCell }
}

/** One line of sizes and densities. */
export function describe(mask: BlockMask, tilesPerCell: number): string {
  const { batchSize, nHeads, seqlenQ, seqlenK, blockM, blockN } = mask
  const sizes = `[${batchSize}, ${nHeads}, ${seqlenQ}, ${seqlenK}], tiles ${blockM}×${blockN}`
  const shares = `visits ${percent(density(mask))} of the tiles, sees ${percent(pairDensity(mask))} of the pairs`
  return `${sizes}, ${shares}${tilesPerCell > 1 ? `; a cell shows ${tilesPerCell}×${tilesPerCell} tiles` : ''}`
}

function percent(share: number): string {
  return `${Number((100 * share).toPrecision(3))} %`
}
