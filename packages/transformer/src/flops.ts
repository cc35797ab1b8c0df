import type { GPTConfig } from './config'

/**
 * Floating-point operations of one forward and backward pass over one sequence, a multiply and an add counting two.
 * The backward pass costs twice the forward pass. Counted are the matrix products and attention over the visible
 * (causal, window) scores; what is computed a second time (attention's backward pass, activation checkpointing) is not,
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
function attentionFlops({ nLayers, nHeads, headDim, windowSize }: GPTConfig, context: number): number {
  const left = windowSize[0] < 0 ? context : Math.min(windowSize[0] + 1, context)
  // Query i sees min(i + 1, left) keys.
  const visible = (left * (left + 1)) / 2 + (context - left) * left
  return nLayers * nHeads * 2 * 2 * headDim * visible
}
