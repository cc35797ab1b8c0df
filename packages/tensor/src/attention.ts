import type { BlockMask } from './block-mask'
import type { Tensor } from './tensor'

/**
 * Options of attention, one meaning on every backend, forward and backward, alone and combined.
 *
 * The score of query i and key j goes through, in this order: softmaxScale·(q·k) → softcap → + ALiBi → + bias → mask (causal,
 * window, block mask) → softmax (with sink) → dropout → ·v.
 *
 * Variable lengths: with `cuSeqlensQ` and `cuSeqlensK`, q is [totalQ, Hq, D], k [totalK, Hk, D] and v [totalK, Hk, Dv]; B, Sq, Sk, i and j below are
 * then those of one sequence. All options but `bias` work with them.
 */
export interface AttentionOptions {
  /** Factor of q·k. Default 1/√headDim. */
  readonly softmaxScale?: number
  /** c > 0: scores become c·tanh(s/c). Default off. */
  readonly softcap?: number
  /** Keep only keys at or before the query. Default false. */
  readonly causal?: boolean
  /** Where the causal diagonal ends: `'bottom-right'` (default) keeps j ≤ i + seqlenK − seqlenQ, `'top-left'` keeps j ≤ i. */
  readonly causalAlign?: 'bottom-right' | 'top-left'
  /** Keys kept around i + seqlenK − seqlenQ, `[left, right]`, both inclusive; −1 is unlimited. Default [−1, −1]. */
  readonly windowSize?: readonly [left: number, right: number]
  /** f32 [Hq] or [B, Hq]: slope·|i + seqlenK − seqlenQ − j| is subtracted from each score (ALiBi, arXiv 2108.12409, §3). */
  readonly alibiSlopes?: Tensor
  /** f32, up to four axes, aligned to the right with [B, Hq, Sq, Sk], each of that length or 1: added to the scores. −∞ hides a pair. */
  readonly bias?: Tensor
  /**
   * f32 [Hq]: one more score per row, with no value of its own: it joins the denominator of softmax and so `lse`
   * (arXiv 2309.17453, §3.3). A row that sees no key then has lse = sink, and out 0 as always.
   */
  readonly sink?: Tensor
  /** In [0, 1): each probability becomes 0 with this chance, else it is divided by 1 − dropoutP; lse is that of before. Default 0. */
  readonly dropoutP?: number
  /**
   * Integer in 0..2^53−1, required with dropoutP > 0. The probability of (b, h, i, j) is kept iff word j mod 4 of Philox4x32-10 with counter
   * (⌊j/4⌋, i, b·Hq + h, 0) and key (seed mod 2^32, ⌊seed/2^32⌋) is ≥ ⌊dropoutP·2^32⌋: the same mask on every backend, forward and backward.
   */
  readonly seed?: number
  /** B + 1 ascending integers from 0 to totalQ: sequence b owns query rows [cuSeqlensQ[b], cuSeqlensQ[b+1]). With cuSeqlensK only. */
  readonly cuSeqlensQ?: Int32Array
  /** The same for keys; lengths of 0, and lengths other than the queries', are fine. */
  readonly cuSeqlensK?: Int32Array
  /** Tiles of (query, key) that are visited; the rest is hidden. Made by `@tilegrad/block-sparse`, or any struct that fits. */
  readonly blockMask?: BlockMask
}

/** An option of attention that is a tensor and has a gradient. */
export type LearnableAttentionOption = 'alibiSlopes' | 'bias' | 'sink'

/** Options of attentionForward. */
export interface AttentionForwardOptions extends AttentionOptions {
  /**
   * A backward pass will follow: return `probabilities` where they spare it more than they cost. That is the backend's to judge, by sizes and options
   * alone; none returns them for more than MAX_SAVED_KEYS keys, so that memory stays linear in seqlenQ, or with cuSeqlens. Changes no bit of out and lse. Default false.
   */
  readonly saveProbabilities?: boolean
}

/** Options of attentionBackward: those that attentionForward was given, but for saveProbabilities. */
export interface AttentionBackwardOptions extends AttentionOptions {
  /** Which of the given alibiSlopes, bias and sink get a gradient. Default: each that is given. */
  readonly optionGradients?: readonly LearnableAttentionOption[]
  /** f32 [B, Hq, Sq, Sk], contiguous: those of attentionForward. A backend may read them instead of computing them again from q, k and lse. */
  readonly probabilities?: Tensor
}

/** Result of attentionForward. */
export interface AttentionForwardResult {
  /** [B, Sq, Hq, Dv], or [totalQ, Hq, Dv], in q's dtype; 0 in rows that see no key. */
  readonly out: Tensor
  /** f32 [B, Hq, Sq], or [Hq, totalQ]: natural log of Σ exp(score), the sink's included; −∞ in rows that see no key (without sink). */
  readonly lse: Tensor
  /** f32 [B, Hq, Sq, Sk]: exp(score − lse), before dropout; 0 where hidden. With saveProbabilities only, and not always. */
  readonly probabilities?: Tensor
}

/** Result of attentionBackward, each in the shape and dtype of what it is the gradient of. */
export interface AttentionBackwardResult {
  readonly dq: Tensor
  readonly dk: Tensor
  readonly dv: Tensor
  readonly dalibiSlopes?: Tensor
  /** Summed over the axes on which bias is broadcast; 0 where bias is −∞. */
  readonly dbias?: Tensor
  readonly dsink?: Tensor
}

/** Result of attentionTopK: both [B, Hq, Sq, topK], from the highest score down; of equal scores, the lower index first. */
export interface AttentionTopKResult {
  /** f32, before dropout. 0 where the row sees fewer keys. */
  readonly probabilities: Tensor
  /** i32 key indices. −1 where the row sees fewer keys. */
  readonly indices: Tensor
}
