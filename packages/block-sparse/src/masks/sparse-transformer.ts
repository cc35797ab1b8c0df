import { ArgumentError } from '@tilegrad/tensor'
import { checkInteger } from '../check'
import { and, or } from '../combinators'
import { type MaskMod, withTileBound } from '../mask-mod'
import { causal, type OffsetOptions, slidingWindow } from './band'
import { dilated } from './dilated'

/** Options of {@link strided}. */
export interface StridedOptions extends OffsetOptions {
  /** l: the length of the window and the distance of the columns. The paper chooses it near √seqlenK. */
  readonly stride: number
}

/**
 * The strided pattern of the Sparse Transformer (Child et al., arXiv 1904.10509, §4.3), both of its heads merged: the `stride` keys before the query
 * and the query's own, and every `stride`-th key before it. Causal. Its parts are `slidingWindow([stride, 0])` and
 * `dilated({ windowSize: [-1, 0], dilation: stride })`.
 */
export function strided({ stride, offset = 0 }: StridedOptions): MaskMod {
  checkInteger('strided', 'stride', stride, 1)
  checkInteger('strided', 'offset', offset)
  return or(slidingWindow([stride, 0], { offset }), dilated({ windowSize: [-1, 0], dilation: stride, offset }))
}

/** Options of {@link fixed}. */
export interface FixedOptions extends OffsetOptions {
  /** l: the length of the blocks. */
  readonly stride: number
  /** c: how many keys of each block are its summary, seen by all later queries. */
  readonly summary: number
}

/**
 * The fixed pattern of the Sparse Transformer (Child et al., arXiv 1904.10509, §4.3), both of its heads merged: the keys of the query's own block of
 * `stride`, and the `summary` keys at the end of each block. Causal. Head h reads the summary that lies h·summary further from the end of the block, and
 * again the last once the block is used up: the paper found distinct ones better. With `nHeads: 1` all heads read the last.
 */
export function fixed({ stride, summary, offset = 0 }: FixedOptions): MaskMod {
  checkInteger('fixed', 'stride', stride, 1)
  checkInteger('fixed', 'summary', summary, 1)
  checkInteger('fixed', 'offset', offset)
  if (summary > stride) throw new ArgumentError('fixed', `summary must be at most stride, ${stride}`, String(summary))
  return and(causal({ offset }), or(sameBlock(stride, offset), summaryKeys(stride, summary)))
}

/** Query and key lie in the same block. */
function sameBlock(stride: number, offset: number): MaskMod {
  const blockOf = (position: number) => Math.floor(position / stride)
  return withTileBound(
    (_b, _h, qIdx, kvIdx) => blockOf(qIdx + offset) === blockOf(kvIdx),
    ({ qBegin, qEnd, kvBegin, kvEnd }) => {
      const [qFirst, qLast] = [blockOf(qBegin + offset), blockOf(qEnd - 1 + offset)]
      const [kvFirst, kvLast] = [blockOf(kvBegin), blockOf(kvEnd - 1)]
      if (qLast < kvFirst || kvLast < qFirst) return 'empty'
      return qFirst === qLast && kvFirst === kvLast ? 'full' : 'partial'
    },
    ({ qBegin, kvBegin }) => `${kvBegin - qBegin} ${kvBegin % stride}`,
  )
}

/** The key lies in the part of its block that is the summary for head h. */
function summaryKeys(stride: number, summary: number): MaskMod {
  const beginOf = (h: number) => stride - (1 + (h % Math.floor(stride / summary))) * summary
  return withTileBound(
    (_b, h, _qIdx, kvIdx) => {
      const within = (kvIdx % stride) - beginOf(h)
      return within >= 0 && within < summary
    },
    ({ h, kvBegin, kvEnd }) => {
      // The summary that begins next is at `next`; the one before it may still last.
      const next = kvBegin + ((((beginOf(h) - kvBegin) % stride) + stride) % stride)
      const last = next === kvBegin ? next : next - stride
      if (kvEnd <= last + summary) return 'full'
      return kvBegin < last + summary || next < kvEnd ? 'partial' : 'empty'
    },
    ({ h, kvBegin }) => String((((kvBegin - beginOf(h)) % stride) + stride) % stride),
  )
}
