import { ArgumentError } from '@tilegrad/tensor'

/** Tiles of the patterns that are block masks are this wide and high, unless the pattern says another multiple of 64. */
export const DEFAULT_BLOCK_SIZE = 128

interface BlockSized {
  /** Side of the mask's tiles, a multiple of 64. Default 128. */
  readonly blockSize?: number
}

/**
 * Which earlier tokens a token sees, itself always included; what is later is hidden in every pattern. Plain data, so that a config can be stored.
 * All but `dense` and `window` are block masks of `@tilegrad/block-sparse`, whose helpers they are named after and which cites their papers.
 */
export type AttentionPattern =
  | { readonly type: 'dense' }
  /** The latest `size` tokens, itself included. */
  | { readonly type: 'window'; readonly size: number }
  /** Longformer: the latest `window` tokens, and the first `globalTokens` of the sequence. */
  | ({ readonly type: 'localGlobal'; readonly window: number; readonly globalTokens: number } & BlockSized)
  /** BigBird: of blocks of `blockSize` tokens, those of a window (an odd number, whose later half causality hides), the first ones, and random ones. */
  | ({
      readonly type: 'bigBird'
      readonly windowBlocks: number
      readonly globalBlocks: number
      readonly randomBlocks: number
      readonly seed: number
    } & BlockSized)
  /** Sparse Transformer: the latest `stride` tokens, and every `stride`-th before. */
  | ({ readonly type: 'strided'; readonly stride: number } & BlockSized)
  /** Sparse Transformer: its own run of `stride` tokens, and the last `summary` of every earlier run. */
  | ({ readonly type: 'fixed'; readonly stride: number; readonly summary: number } & BlockSized)
  /** Every `dilation`-th token back from itself, `window` of them. */
  | ({ readonly type: 'dilated'; readonly window: number; readonly dilation: number } & BlockSized)
  /** The block butterfly that the FlashAttention paper's sparsity uses. */
  | ({ readonly type: 'butterfly' } & BlockSized)

/** Fields of each pattern and the least value of each. */
const fields: { readonly [T in AttentionPattern['type']]: Readonly<Record<string, number>> } = {
  dense: {},
  window: { size: 1 },
  localGlobal: { window: 1, globalTokens: 0 },
  bigBird: { windowBlocks: 1, globalBlocks: 0, randomBlocks: 0, seed: 0 },
  strided: { stride: 1 },
  fixed: { stride: 1, summary: 1 },
  dilated: { window: 1, dilation: 1 },
  butterfly: {},
}

export const PATTERN_TYPES = Object.keys(fields) as readonly AttentionPattern['type'][]

/** @throws ArgumentError naming the field of `pattern` that does not fit. */
export function checkPattern(pattern: AttentionPattern): void {
  const refuse = (expected: string): never => {
    throw new ArgumentError('GPTConfig', `attentionPattern must ${expected}`, JSON.stringify(pattern) ?? String(pattern))
  }
  if (typeof pattern !== 'object' || pattern === null || !Object.hasOwn(fields, pattern.type)) {
    refuse(`have a type among ${PATTERN_TYPES.join(', ')}`)
  }
  const own = fields[pattern.type]
  for (const [name, value] of Object.entries(pattern)) {
    if (name === 'type') continue
    if (name === 'blockSize' && pattern.type !== 'dense' && pattern.type !== 'window') {
      if (!(Number.isSafeInteger(value) && value >= 64 && value % 64 === 0)) refuse('have a blockSize that is a multiple of 64')
    } else if (own[name] === undefined) {
      refuse(`have the fields ${['type', ...Object.keys(own)].join(', ')} as a ${pattern.type} pattern`)
    }
  }
  const wrong = Object.entries(own).find(([name, low]) => {
    const value = (pattern as Readonly<Record<string, unknown>>)[name]
    return !(Number.isSafeInteger(value) && (value as number) >= low)
  })
  if (wrong) refuse(`have ${wrong[0]}, an integer ≥ ${wrong[1]}`)
  if (pattern.type === 'bigBird' && pattern.windowBlocks % 2 === 0) refuse('have an odd number of windowBlocks')
  if (pattern.type === 'fixed' && pattern.summary > pattern.stride) refuse('have a summary of at most stride')
}
