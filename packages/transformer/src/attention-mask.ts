import {
  and,
  bigBird,
  butterfly,
  causal,
  createBlockMask,
  dilated,
  fixed,
  localGlobal,
  type MaskMod,
  pairDensity,
  strided,
} from '@tilegrad/block-sparse'
import type { BlockMask } from '@tilegrad/tensor'
import { type AttentionPattern, DEFAULT_BLOCK_SIZE } from './attention-pattern'

/** Patterns that are block masks. */
export type MaskPattern = Exclude<AttentionPattern, { type: 'dense' | 'window' }>

/** Positions that a mask is made for. */
export interface MaskPositions {
  readonly seqlenQ: number
  /** The last query stands at the last key: what comes before the first query was cached. */
  readonly seqlenK: number
  /** What random patterns draw from, so that a short sequence sees what it would see as the start of a long one. */
  readonly contextLength: number
}

/** The causal mask of a pattern, the same for all batches and heads. */
export function patternMask(pattern: MaskPattern, { seqlenQ, seqlenK, contextLength }: MaskPositions): BlockMask {
  const { blockSize = DEFAULT_BLOCK_SIZE } = pattern
  const offset = seqlenK - seqlenQ
  const mask = and(causal({ offset }), maskMod({ ...pattern, blockSize }, offset, contextLength))
  return createBlockMask(mask, { seqlenQ, seqlenK, blockM: blockSize, blockN: blockSize })
}

function maskMod(pattern: MaskPattern & { blockSize: number }, offset: number, contextLength: number): MaskMod {
  switch (pattern.type) {
    case 'localGlobal':
      return localGlobal({ windowSize: [pattern.window - 1, -1], globalTokens: pattern.globalTokens, offset })
    case 'bigBird': {
      const { windowBlocks, globalBlocks, randomBlocks, seed, blockSize } = pattern
      // What lies before and after the query counts in windowBlocks; causality leaves the half before.
      return bigBird({ seqlenK: contextLength, blockSize, windowBlocks, globalBlocks, randomBlocks, seed, offset })
    }
    case 'strided':
      return strided({ stride: pattern.stride, offset })
    case 'fixed':
      return fixed({ stride: pattern.stride, summary: pattern.summary, offset })
    case 'dilated':
      return dilated({ windowSize: [pattern.window - 1, 0], dilation: pattern.dilation, offset })
    case 'butterfly':
      return butterfly({ blockSize: pattern.blockSize, offset })
  }
}

/** Pairs of a token and one that it sees, over one sequence. */
export function visiblePairs(pattern: AttentionPattern, seqlen: number): number {
  if (pattern.type !== 'dense' && pattern.type !== 'window') {
    const mask = patternMask(pattern, { seqlenQ: seqlen, seqlenK: seqlen, contextLength: seqlen })
    return Math.round(pairDensity(mask) * seqlen * seqlen)
  }
  const size = pattern.type === 'window' ? Math.min(pattern.size, seqlen) : seqlen
  // Token i sees min(i + 1, size).
  return (size * (size + 1)) / 2 + (seqlen - size) * size
}
