// Floating-point operations by the field's conventions; a multiply-add counts as two.

/** Pairs of query and key that attention keeps. */
export function visiblePairs(seqlen: number, causal: boolean): number {
  return causal ? (seqlen * (seqlen + 1)) / 2 : seqlen * seqlen
}

/**
 * Attention over `heads` = batch × heads of them: two products forward, five backward (FlashAttention-2, arXiv 2307.08691, section 4.1).
 * What a kernel recomputes beyond that is not counted.
 */
export function attentionFlops(
  pass: 'forward' | 'forward+backward',
  seqlen: number,
  heads: number,
  headDim: number,
  causal: boolean,
): number {
  const products = pass === 'forward' ? 2 : 7
  return 2 * products * heads * visiblePairs(seqlen, causal) * headDim
}

export interface TrainingShape {
  readonly tokens: number
  readonly seqlen: number
  readonly nLayers: number
  readonly nHeads: number
  readonly headDim: number
  /** Numbers that every token is multiplied with: the matrices, a tied embedding once (as the head), no positions, no norms, no biases. */
  readonly matmulParameters: number
}

/**
 * A training step of a causal transformer without recomputation: 6·parameters·tokens (PaLM, arXiv 2204.02311, appendix B) and, for
 * attention, three times its two forward products over the pairs that are kept.
 */
export function trainingFlops({ tokens, seqlen, nLayers, nHeads, headDim, matmulParameters }: TrainingShape): number {
  const sequences = tokens / seqlen
  return 6 * matmulParameters * tokens + 3 * nLayers * attentionFlops('forward', seqlen, sequences * nHeads, headDim, true)
}
