import { type MaskMod, type MaskTile, type TileBound, tileBoundOf, withTileBound } from './mask-mod'

/** Visible where all of the masks say so. Bounds combine: empty if one is empty, full if all are full. */
export function and(...masks: readonly [MaskMod, ...MaskMod[]]): MaskMod {
  return withTileBound(
    (b, h, qIdx, kvIdx) => {
      for (const mask of masks) if (!mask(b, h, qIdx, kvIdx)) return false
      return true
    },
    (tile) => combined(masks, tile, 'empty', 'full'),
    (tile) => patternOfAll(masks, tile),
  )
}

/** Visible where one of the masks says so. Bounds combine: full if one is full, empty if all are empty. */
export function or(...masks: readonly [MaskMod, ...MaskMod[]]): MaskMod {
  return withTileBound(
    (b, h, qIdx, kvIdx) => {
      for (const mask of masks) if (mask(b, h, qIdx, kvIdx)) return true
      return false
    },
    (tile) => combined(masks, tile, 'full', 'empty'),
    (tile) => patternOfAll(masks, tile),
  )
}

const opposite = { full: 'empty', partial: 'partial', empty: 'full' } as const

/** Visible where the mask says otherwise. Full and empty change places. */
export function not(mask: MaskMod): MaskMod {
  return withTileBound(
    (b, h, qIdx, kvIdx) => !mask(b, h, qIdx, kvIdx),
    (tile) => opposite[tileBoundOf(mask, tile)],
    (tile) => mask.tilePattern?.(tile),
  )
}

/** `one` if one bound is, `all` if all are. */
function combined(masks: readonly MaskMod[], tile: MaskTile, one: TileBound, all: TileBound): TileBound {
  let bound = all
  for (const mask of masks) {
    const next = tileBoundOf(mask, tile)
    if (next === one) return one
    if (next !== all) bound = 'partial'
  }
  return bound
}

/** The patterns of the masks that are partial here, and that the others are full or empty. */
function patternOfAll(masks: readonly MaskMod[], tile: MaskTile): string | undefined {
  const parts: string[] = []
  for (const mask of masks) {
    const bound = tileBoundOf(mask, tile)
    const part = bound === 'partial' ? mask.tilePattern?.(tile) : bound
    if (part === undefined) return undefined
    parts.push(part)
  }
  return `(${parts.join(';')})`
}
