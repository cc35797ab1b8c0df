import { ArgumentError } from '@tilegrad/tensor'
import { checkInteger } from '../check'
import type { MaskMod } from '../mask-mod'
import { randomWord, sampleDistinct } from '../random'
import type { OffsetOptions } from './band'
import { blockwise } from './blockwise'

/** Options of {@link bigBird}. */
export interface BigBirdOptions extends OffsetOptions {
  /** Keys among which random blocks are drawn. */
  readonly seqlenK: number
  /** Positions of a block. Default 64, the paper's. */
  readonly blockSize?: number
  /** Blocks of the window, an odd number: the query's own and as many on either side. Default 3. */
  readonly windowBlocks?: number
  /** Global blocks at the beginning: they see all and are seen by all. Default 2. */
  readonly globalBlocks?: number
  /** Random key blocks of each query block, apart from window and global ones. Default 3. */
  readonly randomBlocks?: number
  /** 0..2^53−1: the random blocks are a function of seed, head and query block alone. Default 0. */
  readonly seed?: number
}

const FN = 'bigBird'

/**
 * Window, global and random blocks: BigBird, internal transformer construction (Zaheer et al., arXiv 2007.14062, §2 and appendix D). Each head draws
 * its own random blocks; with `nHeads: 1` all share those of head 0. In causal models, `and` it with `causal`.
 */
export function bigBird(options: BigBirdOptions): MaskMod {
  const { seqlenK, blockSize = 64, windowBlocks = 3, globalBlocks = 2, randomBlocks = 3, seed = 0, offset = 0 } = options
  checkInteger(FN, 'seqlenK', seqlenK, 0)
  checkInteger(FN, 'blockSize', blockSize, 1)
  checkInteger(FN, 'windowBlocks', windowBlocks, 1)
  if (windowBlocks % 2 === 0) throw new ArgumentError(FN, 'windowBlocks must be odd', String(windowBlocks))
  checkInteger(FN, 'globalBlocks', globalBlocks, 0)
  checkInteger(FN, 'randomBlocks', randomBlocks, 0)
  checkInteger(FN, 'seed', seed, 0)
  checkInteger(FN, 'offset', offset)
  const side = (windowBlocks - 1) / 2
  const nKvBlocks = Math.ceil(seqlenK / blockSize)

  /** Key blocks outside window and globals are counted from 0, those after the window following those before it. */
  const draw = (h: number, qBlock: number): Set<number> => {
    const windowBegin = clamp(qBlock - side, globalBlocks, nKvBlocks)
    const windowEnd = clamp(qBlock + side + 1, globalBlocks, nKvBlocks)
    const before = windowBegin - globalBlocks
    const candidates = Math.max(0, before + nKvBlocks - windowEnd)
    const word = (n: number) => randomWord(seed, Math.floor(seed / 2 ** 32), h, qBlock, n)
    const drawn = sampleDistinct(candidates, randomBlocks, word)
    return new Set(drawn.map((n) => (n < before ? globalBlocks + n : windowEnd + n - before)))
  }
  const drawnBy = new Map<number, Set<number>>()
  const randomOf = (h: number, qBlock: number): Set<number> => {
    const key = h * 2 ** 32 + qBlock
    let drawn = drawnBy.get(key)
    if (!drawn) {
      drawn = draw(h, qBlock)
      drawnBy.set(key, drawn)
    }
    return drawn
  }
  return blockwise(
    blockSize,
    offset,
    (h, qBlock, kvBlock) =>
      qBlock < globalBlocks || kvBlock < globalBlocks || Math.abs(qBlock - kvBlock) <= side || randomOf(h, qBlock).has(kvBlock),
  )
}

/** Within low..high; low, should high be less. */
function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(value, high))
}
