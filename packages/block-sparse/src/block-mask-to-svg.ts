import type { BlockMask } from '@tilegrad/tensor'
import { type Cell, describe, drawPicture, type Picture, type PictureOptions } from './picture'

/** Options of {@link blockMaskToSvg}. */
export interface SvgOptions extends PictureOptions {
  /** Pixels of the longer side, about: cells are whole pixels. Default 384. */
  readonly size?: number
  /** Name of the picture, for readers who do not see it. Default 'Block mask'. */
  readonly title?: string
}

const fills: Readonly<Record<Cell, string>> = { full: '#1f4e9c', partial: '#86b0ea', empty: '#f1f3f6' }

/**
 * A picture of one batch and head as an SVG document: queries downwards, keys to the right; dark for full, light for partial, grey for tiles that are not
 * visited. At most `maxCells` (default 128) cells along a side; a cell of several tiles is full or empty if all of them are.
 *
 * @throws ArgumentError if b, h or maxCells is out of range.
 */
export function blockMaskToSvg(mask: BlockMask, options: SvgOptions = {}): string {
  const { size = 384, title = 'Block mask' } = options
  const picture = drawPicture('blockMaskToSvg', mask, options, options.maxCells ?? 128)
  const rows = picture.cells.length
  const columns = picture.cells[0]?.length ?? 0
  const scale = Math.max(1, Math.floor(size / Math.max(1, rows, columns)))
  const [width, height] = [columns * scale, rows * scale]
  const paths = (['full', 'partial'] as const).map((kind) => `<path class="${kind}" fill="${fills[kind]}" d="${runs(picture, kind)}"/>`)
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width + 2}" height="${height + 2}" viewBox="-1 -1 ${width + 2} ${height + 2}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<desc>${escaped(describe(mask, picture.tilesPerCell))}</desc>`,
    `<rect class="empty" fill="${fills.empty}" stroke="#c3c9d2" x="-.5" y="-.5" width="${width + 1}" height="${height + 1}"/>`,
    `<g transform="scale(${scale})" shape-rendering="crispEdges">`,
    ...paths,
    '</g>',
    '</svg>',
  ].join('\n')}\n`
}

/** The cells of one kind as a path: a rectangle for each run of them in a row. */
function runs({ cells }: Picture, kind: Cell): string {
  let path = ''
  for (const [y, row] of cells.entries()) {
    for (let x = 0; x < row.length; x++) {
      if (row[x] !== kind) continue
      const begin = x
      while (row[x + 1] === kind) x++
      path += `M${begin} ${y}h${x + 1 - begin}v1H${begin}z`
    }
  }
  return path
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => entities[character] ?? character)
}
