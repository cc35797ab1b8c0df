/** A rectangle of the score matrix: queries [qBegin, qEnd) by keys [kvBegin, kvEnd) of batch b and head h, cut off at the sequence lengths, never empty. */
export interface MaskTile {
  readonly b: number
  readonly h: number
  readonly qBegin: number
  readonly qEnd: number
  readonly kvBegin: number
  readonly kvEnd: number
}

/** What is known of a tile without looking at its pairs. `'full'` and `'empty'` are promises; `'partial'` says: look. */
export type TileBound = 'full' | 'partial' | 'empty'

/**
 * Whether query `qIdx` sees key `kvIdx` in batch `b` and head `h`, as in FlexAttention (arXiv 2412.05496, §3). Any function of that form
 * is one. What it may say of whole tiles besides spares {@link createBlockMask} the look at their pairs.
 */
export interface MaskMod {
  (b: number, h: number, qIdx: number, kvIdx: number): boolean
  /** Without it every pair is looked at. */
  readonly tileBound?: (tile: MaskTile) => TileBound
  /**
   * A name for the mask of a tile whose bound is `'partial'`: of tiles with the same sides and the same name, whatever b and h, only the first is
   * looked at. `undefined`: no name. The offset kvBegin − qBegin is one for whatever depends on kvIdx − qIdx alone.
   */
  readonly tilePattern?: (tile: MaskTile) => string | undefined
}

/** A copy of `maskMod` that knows about tiles. */
export function withTileBound(
  maskMod: (b: number, h: number, qIdx: number, kvIdx: number) => boolean,
  tileBound: (tile: MaskTile) => TileBound,
  tilePattern?: (tile: MaskTile) => string | undefined,
): MaskMod {
  const copy = (b: number, h: number, qIdx: number, kvIdx: number) => maskMod(b, h, qIdx, kvIdx)
  return Object.assign(copy, { tileBound, ...(tilePattern && { tilePattern }) })
}

/** What `maskMod` promises of a tile: nothing, if it has no bound. */
export function tileBoundOf(maskMod: MaskMod, tile: MaskTile): TileBound {
  return maskMod.tileBound?.(tile) ?? 'partial'
}
