import type { BlockMask } from '@tilegrad/tensor'
import { type Cell, describe, drawPicture, type PictureOptions } from './picture'

/** Two characters to a cell make it about square. */
const characters: Readonly<Record<Cell, string>> = { full: '██', partial: '▒▒', empty: '··' }

/**
 * A printed picture of one batch and head: a line of sizes and densities, then queries downwards and keys to the right, `██` for full tiles, `▒▒` for partial
 * ones, `··` for tiles that are not visited. At most `maxCells` (default 32) cells along a side; a cell of several tiles is full or empty if all of
 * them are.
 *
 * @throws ArgumentError if b, h or maxCells is out of range.
 */
export function formatBlockMask(mask: BlockMask, options: PictureOptions = {}): string {
  const { cells, tilesPerCell } = drawPicture('formatBlockMask', mask, options, options.maxCells ?? 32)
  const lines = cells.map((row) => row.map((cell) => characters[cell]).join(''))
  return [describe(mask, tilesPerCell), ...lines].join('\n')
}
