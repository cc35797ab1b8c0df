import { checkInteger } from '../check'
import { type MaskMod, withTileBound } from '../mask-mod'
import { checkWindow, type OffsetOptions } from './band'

/** Options of {@link dilated}. */
export interface DilatedOptions extends OffsetOptions {
  /** Keys before and after the query, counted in dilated steps, −1 for unlimited. */
  readonly windowSize: readonly [left: number, right: number]
  /** Keys from one step to the next: 1 is no dilation. */
  readonly dilation: number
}

/**
 * Every `dilation`-th key around the query: kvIdx − qIdx − offset is a multiple n·dilation with −left ≤ n ≤ right. The dilated sliding window of
 * Longformer (arXiv 2004.05150, §3.1).
 */
export function dilated({ windowSize, dilation, offset = 0 }: DilatedOptions): MaskMod {
  checkInteger('dilated', 'dilation', dilation, 1)
  checkInteger('dilated', 'offset', offset)
  const [left, right] = checkWindow('dilated', windowSize)
  return withTileBound(
    (_b, _h, qIdx, kvIdx) => {
      const steps = (kvIdx - qIdx - offset) / dilation
      return steps >= -left && steps <= right && Number.isInteger(steps)
    },
    ({ qBegin, qEnd, kvBegin, kvEnd }) => {
      const least = Math.max(-left, Math.ceil((kvBegin - (qEnd - 1) - offset) / dilation))
      const most = Math.min(right, Math.floor((kvEnd - 1 - qBegin - offset) / dilation))
      if (least > most) return 'empty'
      // Every distance of the tile is one of the steps from least to most only if those are as many as there are distances.
      return most - least === kvEnd - kvBegin + (qEnd - qBegin) - 2 ? 'full' : 'partial'
    },
    ({ qBegin, qEnd, kvBegin, kvEnd }) => {
      const least = kvBegin - (qEnd - 1) - offset
      const most = kvEnd - 1 - qBegin - offset
      // Away from the window's ends only the phase matters.
      if (least >= -left * dilation && most <= right * dilation) return `phase ${((least % dilation) + dilation) % dilation}`
      return String(least)
    },
  )
}
