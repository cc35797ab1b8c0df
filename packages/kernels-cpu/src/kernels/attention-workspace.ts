import type { AttentionProblem } from '@tilegrad/tensor'

// The same numbers as in native/attention-problem-inl.h and native/attention-{forward,backward}-inl.h, which lay the workspace out.
const keyPad = 64
const dimPad = 16
const blockM = 64
const backwardBlockM = 64

/** Below this many independent query blocks the keys are split too, so that one head or one row still fills the threads. */
const targetTasks = 16
/** A split is not worth its merge below this many keys. */
const minKeysPerSplit = 1024

const padTo = (n: number, multiple: number) => Math.ceil(n / multiple) * multiple

/** Into how many parts the keys of each query block are cut: by shape alone, so that results do not depend on the thread count. */
export function attentionForwardSplits({ batchSize, nHeads, seqlenQ, seqlenK }: AttentionProblem): number {
  const queryBlocks = batchSize * nHeads * Math.ceil(seqlenQ / blockM)
  if (queryBlocks === 0 || queryBlocks >= targetTasks) return 1
  return Math.max(1, Math.min(Math.ceil(targetTasks / queryBlocks), Math.floor(seqlenK / minKeysPerSplit)))
}

/** Floats of workspace that attention_forward needs: O(S·D), K and V packed once and the partial results of splits. */
export function attentionForwardWorkspace(problem: AttentionProblem): number {
  const { batchSize, nHeads, nHeadsK, seqlenQ, seqlenK, headDim, headDimV } = problem
  const headDimVPad = padTo(headDimV, dimPad)
  const packed = batchSize * nHeadsK * padTo(seqlenK, keyPad) * (headDim + headDimVPad)
  const splits = attentionForwardSplits(problem)
  const partial = splits > 1 ? splits * batchSize * nHeads * seqlenQ * (headDimVPad + 2) : 0
  return packed + partial
}

/** Floats of workspace that attention_backward needs: delta per row and a counter per row block. */
export function attentionBackwardWorkspace({ batchSize, nHeads, seqlenQ }: AttentionProblem): number {
  return batchSize * nHeads * (seqlenQ + Math.ceil(seqlenQ / backwardBlockM))
}
