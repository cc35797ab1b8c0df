import { ArgumentError } from '@tilegrad/tensor'
import { checkInteger } from '../check'
import { or } from '../combinators'
import type { MaskMod } from '../mask-mod'
import { causal, type OffsetOptions } from './band'
import { keysBefore } from './positions'

/** Options of {@link prefixLM}. */
export interface PrefixLMOptions extends OffsetOptions {
  /** Tokens of the prefix: one length for all, or one per batch (then create the mask with that `batchSize`). */
  readonly prefixLength: number | readonly number[]
}

/**
 * Causal, but everybody sees the whole prefix: an encoder for the prefix and a decoder for the rest in one model (T5, arXiv 1910.10683, §3.2.1
 * and figure 4).
 */
export function prefixLM({ prefixLength, offset = 0 }: PrefixLMOptions): MaskMod {
  const lengths = typeof prefixLength === 'number' ? [prefixLength] : [...prefixLength]
  if (lengths.length === 0) throw new ArgumentError('prefixLM', 'prefixLength must be a number or one per batch', '[]')
  for (const length of lengths) checkInteger('prefixLM', 'prefixLength', length, 0)
  const limitOf = typeof prefixLength === 'number' ? () => prefixLength : (b: number) => perBatch('prefixLM', 'prefixLength', lengths, b)
  return or(causal({ offset }), keysBefore(limitOf))
}

/** The entry of batch b. @throws ArgumentError if there is none. */
export function perBatch<T>(fn: string, name: string, list: readonly T[], b: number): T {
  const entry = list[b]
  if (entry === undefined) throw new ArgumentError(fn, `${name} must have an entry for each batch`, `${list.length} for batch ${b}`)
  return entry
}
