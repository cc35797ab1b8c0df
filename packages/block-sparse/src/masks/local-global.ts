import { ArgumentError } from '@tilegrad/tensor'
import { checkInteger } from '../check'
import { or } from '../combinators'
import type { MaskMod } from '../mask-mod'
import { type OffsetOptions, slidingWindow } from './band'
import { keysAt, queriesAt } from './positions'

/** Options of {@link localGlobal}. */
export interface LocalGlobalOptions extends OffsetOptions {
  /** Keys before and after each query, both inclusive, −1 for unlimited. */
  readonly windowSize: readonly [left: number, right: number]
  /** The first n positions, or the positions themselves. */
  readonly globalTokens: number | readonly number[]
}

/**
 * A sliding window for all, and some global positions that see every key and are seen by every query: Longformer
 * (arXiv 2004.05150, §3.1, "Global Attention"). In causal models, `and` it with `causal`.
 */
export function localGlobal({ windowSize, globalTokens, offset = 0 }: LocalGlobalOptions): MaskMod {
  const fn = 'localGlobal'
  let positions: readonly number[]
  if (typeof globalTokens === 'number') {
    checkInteger(fn, 'globalTokens', globalTokens, 0)
    positions = Array.from({ length: globalTokens }, (_, position) => position)
  } else {
    if (!Array.isArray(globalTokens)) throw new ArgumentError(fn, 'globalTokens must be a number or a list of numbers', typeof globalTokens)
    for (const position of globalTokens) checkInteger(fn, 'globalTokens[…]', position, 0)
    positions = globalTokens
  }
  return or(slidingWindow(windowSize, { offset }), queriesAt(positions, offset), keysAt(positions))
}
