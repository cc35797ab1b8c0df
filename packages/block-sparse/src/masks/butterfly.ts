import { ArgumentError } from '@tilegrad/tensor'
import { checkInteger } from '../check'
import type { MaskMod } from '../mask-mod'
import type { OffsetOptions } from './band'
import { blockwise } from './blockwise'

/** Options of {@link butterfly}. */
export interface ButterflyOptions extends OffsetOptions {
  /** Positions of a block. A multiple of the tiles' sides makes every tile full or empty. Default 128. */
  readonly blockSize?: number
  /** The largest factor that takes part, in blocks: a power of two. 1 leaves the diagonal. Default: all that fit. */
  readonly maxStride?: number
}

/**
 * Flat block butterfly, the pattern of block-sparse FlashAttention (arXiv 2205.14135, §3.3): the blocks that the sum of all butterfly factors
 * touches (Dao et al., Pixelated Butterfly, arXiv 2112.00029, §3.2; the factors themselves: Monarch, arXiv 2204.00595, §2). The factor of
 * stride k pairs block i with itself and with i xor k/2, so that of n blocks in a row 1 + log2 n are visible. Two such steps, at most log2 n, connect
 * any two blocks. In causal models, `and` it with `causal`.
 */
export function butterfly({ blockSize = 128, maxStride = 2 ** 30, offset = 0 }: ButterflyOptions = {}): MaskMod {
  checkInteger('butterfly', 'blockSize', blockSize, 1)
  checkInteger('butterfly', 'offset', offset)
  if (!(Number.isInteger(Math.log2(maxStride)) && maxStride >= 1 && maxStride <= 2 ** 30)) {
    throw new ArgumentError('butterfly', 'maxStride must be a power of two in 1..2^30', String(maxStride))
  }
  return blockwise(blockSize, offset, (_h, qBlock, kvBlock) => {
    const difference = qBlock ^ kvBlock
    const oneBitAtMost = (difference & (difference - 1)) === 0
    return oneBitAtMost && difference < maxStride
  })
}
