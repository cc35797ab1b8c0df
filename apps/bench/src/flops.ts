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
  const products = { forward: 2, backward: 5, 'forward+backward': 7 }[pass]
  return 2 * products * shape.batchSize * shape.nHeads * visiblePairs(shape) * shape.headDim
}
