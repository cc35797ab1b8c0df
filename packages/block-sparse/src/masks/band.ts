import { ArgumentError } from '@tilegrad/tensor'
import { checkInteger } from '../check'
import { type MaskMod, withTileBound } from '../mask-mod'

/** Where queries stand among the keys. */
export interface OffsetOptions {
  /**
   * Query i stands at key position i + offset. seqlenK − seqlenQ is attention's `causalAlign: 'bottom-right'` and where its windows lie; 0 (default) is
   * `'top-left'`. Where seqlenQ = seqlenK they are the same.
   */
  readonly offset?: number
}

/** Keys at or before the query: kvIdx ≤ qIdx + offset. */
export function causal({ offset = 0 }: OffsetOptions = {}): MaskMod {
  checkInteger('causal', 'offset', offset)
  return band(Number.NEGATIVE_INFINITY, offset)
}

/**
 * Keys at most `left` before and `right` after the query, both inclusive, −1 for unlimited, as attention's `windowSize`: local attention, the sliding
 * window of Longformer (arXiv 2004.05150, §3.1).
 */
export function slidingWindow(windowSize: readonly [left: number, right: number], { offset = 0 }: OffsetOptions = {}): MaskMod {
  checkInteger('slidingWindow', 'offset', offset)
  const [left, right] = checkWindow('slidingWindow', windowSize)
  return band(offset - left, offset + right)
}

/** The sides of a window, −1 as ∞. */
export function checkWindow(fn: string, windowSize: readonly [left: number, right: number]): [left: number, right: number] {
  if (windowSize.length !== 2) throw new ArgumentError(fn, 'windowSize must be [left, right]', `[${windowSize.join(', ')}]`)
  const [left, right] = windowSize
  checkInteger(fn, 'windowSize[0]', left, -1)
  checkInteger(fn, 'windowSize[1]', right, -1)
  return [left === -1 ? Number.POSITIVE_INFINITY : left, right === -1 ? Number.POSITIVE_INFINITY : right]
}

/** diagonalMin ≤ kvIdx − qIdx ≤ diagonalMax. */
function band(diagonalMin: number, diagonalMax: number): MaskMod {
  return withTileBound(
    (_b, _h, qIdx, kvIdx) => kvIdx - qIdx >= diagonalMin && kvIdx - qIdx <= diagonalMax,
    ({ qBegin, qEnd, kvBegin, kvEnd }) => {
      const least = kvBegin - (qEnd - 1)
      const most = kvEnd - 1 - qBegin
      if (most < diagonalMin || least > diagonalMax) return 'empty'
      return least >= diagonalMin && most <= diagonalMax ? 'full' : 'partial'
    },
    ({ qBegin, kvBegin }) => String(kvBegin - qBegin),
  )
}
