import type { Tensor } from './tensor'

/**
 * Options of attention, one meaning on every backend, forward and backward.
 * The score of query i and key j goes through, in this order:
 * softmaxScale·(q·k) → softcap → mask (causal, window) → softmax.
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
}

/** Result of attentionForward. */
export interface AttentionForwardResult {
  /** [batchSize, seqlenQ, nHeads, headDimV] in q's dtype; 0 in rows that see no key. */
  readonly out: Tensor
  /** f32 [batchSize, nHeads, seqlenQ], natural log of Σ exp(score); −∞ in rows that see no key. */
  readonly lse: Tensor
}

/** Result of attentionBackward, each in the shape and dtype of what it is the gradient of. */
export interface AttentionBackwardResult {
  readonly dq: Tensor
  readonly dk: Tensor
  readonly dv: Tensor
}
