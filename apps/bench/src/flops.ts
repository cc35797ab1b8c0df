import type { AttentionShape, Pass } from './attention/problem'

// Floating-point operations by the field's conventions; a multiply-add counts as two.

/** Pairs of query and key that attention keeps, with the causal diagonal ending bottom-right. */
export function visiblePairs({ seqlenQ, seqlenK, causal }: Pick<AttentionShape, 'seqlenQ' | 'seqlenK' | 'causal'>): number {
  if (!causal) return seqlenQ * seqlenK
  // Row i sees i + 1 + seqlenK − seqlenQ keys; rows of which nothing is left add nothing.
  const rows = Math.min(seqlenQ, seqlenK)
  return rows * seqlenK - (rows * (rows - 1)) / 2
}

/**
 * Attention over all batches and heads: two products forward, five backward (FlashAttention-2, arXiv 2307.08691, section 4.1).
 * What a kernel recomputes beyond that is not counted.
 */
export function attentionFlops(pass: Pass, shape: AttentionShape): number {
  const products = pass === 'forward' ? 2 : 7
  return 2 * products * shape.batchSize * shape.nHeads * visiblePairs(shape) * shape.headDim
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
  const attention = { batchSize: tokens / seqlen, seqlenQ: seqlen, seqlenK: seqlen, nHeads, headDim, causal: true }
  return 6 * matmulParameters * tokens + 3 * nLayers * attentionFlops('forward', attention)
}
