import type { AttentionProblem } from '@tilegrad/tensor'

// The same numbers as in native/tile-sizes.h, native/attention-problem-inl.h and native/attention-{forward,decode,backward}-inl.h, which lay the workspace out.
const keyPad = 64
const dimPad = 16
const blockM = 64
const backwardBlockM = 64

/** Up to so many queries per head, or query rows per key head, attention_decode reads K and V in place; beyond, packing them pays. */
const decodeSeqlenQ = 8
const decodeRowsPerKeyHead = 32
/** Query rows, of one key head or of several, that a task of attention_decode takes. */
const decodeRows = 128

/** Below this many independent tasks the keys are split too, so that one head or one row still fills the threads. */
const targetTasks = 16
const decodeTargetTasks = 32
/** A split is not worth its merge below this many keys. */
const minKeysPerSplit = 1024
const decodeMinKeysPerSplit = 512

const padTo = (n: number, multiple: number) => Math.ceil(n / multiple) * multiple

/** Which of the two forward kernels suits: by shape alone, so that results do not depend on the machine's load. */
export function attentionForwardKernel({ seqlenQ, nHeads, nHeadsK }: AttentionProblem): 'attention_decode' | 'attention_forward' {
  const few = seqlenQ <= decodeSeqlenQ || (seqlenQ * nHeads) / nHeadsK <= decodeRowsPerKeyHead
  return few ? 'attention_decode' : 'attention_forward'
}

/** Into how many parts the keys of each task are cut: by shape alone, so that results do not depend on the thread count. */
export function attentionForwardSplits(problem: AttentionProblem): number {
  const { batchSize, nHeads, seqlenQ, seqlenK } = problem
  if (attentionForwardKernel(problem) === 'attention_decode') {
    return splitsFor(decodeTasks(problem), decodeTargetTasks, seqlenK, decodeMinKeysPerSplit)
  }
  return splitsFor(batchSize * nHeads * Math.ceil(seqlenQ / blockM), targetTasks, seqlenK, minKeysPerSplit)
}

/** As native/attention-decode-inl.h cuts rows and key heads into tasks. */
function decodeTasks({ batchSize, nHeads, nHeadsK, seqlenQ }: AttentionProblem): number {
  const rows = (nHeads / nHeadsK) * seqlenQ
  if (rows === 0) return 0
  const rowsPerTask = Math.min(rows, decodeRows)
  const headsPerTask = Math.min(nHeadsK, Math.floor(decodeRows / rowsPerTask))
  return batchSize * Math.ceil(rows / rowsPerTask) * Math.ceil(nHeadsK / headsPerTask)
}

function splitsFor(tasks: number, target: number, seqlenK: number, minKeys: number): number {
  if (tasks === 0 || tasks >= target) return 1
  return Math.max(1, Math.min(Math.ceil(target / tasks), Math.floor(seqlenK / minKeys)))
}

/** Floats of workspace that the forward kernel needs: O(S·D), K and V packed once (unless they are read in place) and the partial results of splits. */
export function attentionForwardWorkspace(problem: AttentionProblem): number {
  const { batchSize, nHeads, nHeadsK, seqlenQ, seqlenK, headDim, headDimV } = problem
  const headDimVPad = padTo(headDimV, dimPad)
  const splits = attentionForwardSplits(problem)
  const ownKeys = seqlenQ <= blockM && nHeads === nHeadsK && splits === 1 // one task reads each tile of keys, and packs it itself
  const unpacked = ownKeys || attentionForwardKernel(problem) === 'attention_decode'
  const packed = unpacked ? 0 : batchSize * nHeadsK * padTo(seqlenK, keyPad) * (headDim + headDimVPad)
  const partial = splits > 1 ? splits * batchSize * nHeads * seqlenQ * (headDimVPad + 2) : 0
  return packed + partial
}

/** Floats of workspace that attention_backward needs: delta per row and a counter per row block. */
export function attentionBackwardWorkspace({ batchSize, nHeads, seqlenQ }: AttentionProblem): number {
  return batchSize * nHeads * (seqlenQ + Math.ceil(seqlenQ / backwardBlockM))
}
