import { visiblePairs } from './attention-mask'
import type { GPTConfig } from './config'

/**
 * Floating-point operations of one forward and backward pass over one sequence, a multiply and an add counting two.
 * The backward pass costs twice the forward pass. Counted are the matrix products and attention over the visible
 * scores of each layer's pattern; what is computed a second time (attention's backward pass, activation checkpointing) is not,
 * as in PaLM's model FLOPs utilisation (arXiv 2204.02311, appendix B).
 */
export function trainingFlops(config: GPTConfig, context: number): number {
  return 3 * (context * 2 * matmulWeights(config) + attentionFlops(config, context))
}

/** Weights that multiply every token: all but embeddings, positions and norms; the output head counts, tied or not. */
function matmulWeights({ architecture, nLayers, nHeads, nHeadsK, headDim, dModel, intermediateSize, vocabSize }: GPTConfig): number {
  const projections = dModel * headDim * (2 * nHeads + 2 * nHeadsK)
  const feedForward = (architecture === 'llama' ? 3 : 2) * dModel * intermediateSize
  return nLayers * (projections + feedForward) + dModel * vocabSize
}

/** Of q·kᵀ and p·v. */
function attentionFlops({ nLayers, nHeads, headDim, attentionPattern }: GPTConfig, context: number): number {
  const visible = attentionPattern.map((pattern) => visiblePairs(pattern, context))
  let pairs = 0
  for (let layer = 0; layer < nLayers; layer++) pairs += visible[layer % visible.length] as number
  return nHeads * 2 * 2 * headDim * pairs
}
