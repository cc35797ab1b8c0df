import { type BlockList, bigBird, blockMaskFromLists, butterfly, createBlockMask, localGlobal } from '@tilegrad/block-sparse'
import type { BlockMask } from '@tilegrad/tensor'
import { randomIntegers } from '../random'

/** A block mask as what a job can carry to another process: one for all batches and heads. */
export type MaskSpec =
  /** Every query block visits `blocks` key blocks, its own among them, and every key block is visited by as many. */
  | { readonly kind: 'balanced'; readonly blocks: number; readonly blockSize: number; readonly seed: number }
  /** FlashAttention's (arXiv 2205.14135, §3.3). */
  | { readonly kind: 'butterfly'; readonly blockSize: number }
  /** arXiv 2004.05150, §3.1. */
  | { readonly kind: 'longformer'; readonly window: number; readonly globalTokens: number }
  /** arXiv 2007.14062, §2: the published blocks of 64, 3 in the window, 2 global and 3 random. */
  | { readonly kind: 'bigbird'; readonly seed: number }

/** Sides of a tile where the pattern does not say. */
const tileSide = 128

export function blockMaskOf(spec: MaskSpec, seqlen: number): BlockMask {
  const sizes = { seqlenQ: seqlen, seqlenK: seqlen }
  switch (spec.kind) {
    case 'balanced':
      return balanced(spec.blocks, spec.blockSize, spec.seed, seqlen)
    case 'butterfly':
      return createBlockMask(butterfly({ blockSize: spec.blockSize }), { ...sizes, blockM: spec.blockSize, blockN: spec.blockSize })
    case 'longformer': {
      const half = spec.window / 2
      const mask = localGlobal({ windowSize: [half, half], globalTokens: spec.globalTokens })
      return createBlockMask(mask, { ...sizes, blockM: tileSide, blockN: tileSide })
    }
    case 'bigbird':
      return createBlockMask(bigBird({ seqlenK: seqlen, blockSize: 64, seed: spec.seed }), { ...sizes, blockM: 64, blockN: 64 })
  }
}

/**
 * Key block = query block + offset modulo the number of blocks, for `blocks` random offsets with 0 among them: as scattered as random block lists,
 * with the same work in every row and in every column.
 */
function balanced(blocks: number, blockSize: number, seed: number, seqlen: number): BlockMask {
  const n = Math.ceil(seqlen / blockSize)
  if (!(Number.isInteger(blocks) && blocks >= 1 && blocks <= n)) throw new Error(`a row of ${n} blocks cannot visit ${blocks}`)
  const offsets = [0, ...shuffled(n - 1, seed).map((offset) => offset + 1)].slice(0, blocks)
  const row = (mBlock: number): BlockList => {
    const full = offsets.map((offset) => (mBlock + offset) % n).sort((a, b) => a - b)
    return { full, partial: [] }
  }
  const lists = [[Array.from({ length: n }, (_, mBlock) => row(mBlock))]]
  return blockMaskFromLists(lists, { seqlenQ: seqlen, seqlenK: seqlen, blockM: blockSize, blockN: blockSize })
}

/** 0 … length − 1 in an order that depends on the seed alone (Fisher and Yates). */
function shuffled(length: number, seed: number): number[] {
  const order = Array.from({ length }, (_, i) => i)
  const draws = randomIntegers(length, 2 ** 31 - 1, seed)
  for (let i = length - 1; i > 0; i--) {
    const j = (draws[i] as number) % (i + 1)
    const swapped = order[i] as number
    order[i] = order[j] as number
    order[j] = swapped
  }
  return order
}
