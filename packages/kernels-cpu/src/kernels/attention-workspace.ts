import { type AttentionBackwardProblem, type AttentionForwardProblem, type AttentionProblem, MAX_SAVED_KEYS, numel } from '@tilegrad/tensor'

// The same numbers as in native/tile-sizes.h, native/attention-problem-inl.h and native/attention-{forward,decode,backward}-inl.h, which lay the workspace out.
const keyPad = 64
const dimPad = 16
const blockM = 64
const backwardBlockM = 64
/** The smaller of the two sizes that the backward pass chooses from: the larger needs no more. */
const backwardBlockN = 128

/**
 * Up to so many queries per head, or query rows per key head, attention_decode reads K and V in place; beyond, packing them pays. It pays
 * sooner where a head's few keys are packed in cache.
 */
const decodeSeqlenQ = 8
const decodeRowsPerKeyHead = 32
const decodeRowsFewKeys = 24
/** Up to so many keys the rows of attention_decode have them in one block, and it can save their probabilities. */
const decodeSavedKeys = 64
const fewKeys = 512
/** Query rows, of one key head or of several, that a task of attention_decode takes. */
const decodeRows = 128

/** Below this many independent tasks the keys are split too, so that one head or one row still fills the threads. */
const targetTasks = 16
const decodeTargetTasks = 32
/** A split is not worth its merge below this many keys. */
const minKeysPerSplit = 1024
const decodeMinKeysPerSplit = 512

const padTo = (n: number, multiple: number) => Math.ceil(n / multiple) * multiple

/** Which of the two forward kernels suits: by shape and options alone, so that results do not depend on the machine's load. */
export function attentionForwardKernel(problem: AttentionProblem): 'attention_decode' | 'attention_forward' {
  const { seqlenQ, seqlenK, nHeads, nHeadsK, dropoutP, blockMask } = problem
  const fewRows = seqlenK < fewKeys ? decodeRowsFewKeys : decodeRowsPerKeyHead
  const few = seqlenQ <= decodeSeqlenQ || (seqlenQ * nHeads) / nHeadsK <= fewRows
  return few && dropoutP === 0 && !blockMask ? 'attention_decode' : 'attention_forward'
}

/**
 * Whether the forward pass saves its probabilities, asked to do so: not with a softcap, whose gradient needs the scores, nor under a block mask, whose tiles
 * may come one by one, nor of a few rows in several blocks of keys, nor of long sequences over few keys, where they would take several times the memory of q.
 */
export function savesProbabilities(problem: AttentionForwardProblem): boolean {
  const { saveProbabilities, softcap, blockMask, seqlenQ, seqlenK } = problem
  if (!saveProbabilities || softcap > 0 || blockMask || seqlenQ > MAX_SAVED_KEYS) return false
  return seqlenK <= decodeSavedKeys || attentionForwardKernel(problem) === 'attention_forward'
}

/** Into how many parts the keys of each task are cut: by shape alone, so that results do not depend on the thread count. */
export function attentionForwardSplits(problem: AttentionProblem): number {
  const { nHeads, seqlenK } = problem
  if (attentionForwardKernel(problem) === 'attention_decode') {
    return splitsFor(decodeTasks(problem), decodeTargetTasks, seqlenK, decodeMinKeysPerSplit)
  }
  return splitsFor(nHeads * queryBlocks(problem, blockM), targetTasks, seqlenK, minKeysPerSplit)
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
  const { nHeads, nHeadsK, seqlenQ, totalQ, headDim, headDimV } = problem
  const headDimVPad = padTo(headDimV, dimPad)
  const splits = attentionForwardSplits(problem)
  const ownKeys = seqlenQ <= blockM && nHeads === nHeadsK && splits === 1 // one task reads each tile of keys, and packs it itself
  const unpacked = ownKeys || attentionForwardKernel(problem) === 'attention_decode'
  const packed = unpacked ? 0 : nHeadsK * keyBlocks(problem, keyPad) * keyPad * (headDim + headDimVPad)
  const partial = splits > 1 ? splits * nHeads * totalQ * (headDimVPad + 2) : 0
  return packed + partial
}

/** Floats of workspace that attention_backward needs: delta per row and a counter per row block. */
export function attentionBackwardWorkspace(problem: AttentionProblem): number {
  return problem.nHeads * (problem.totalQ + queryBlocks(problem, backwardBlockM))
}

/** Floats of workspace that OptionGradients of native/attention-option-gradients-inl.h needs, all zero. */
export function optionGradientsWorkspace(problem: AttentionBackwardProblem): number {
  const { nHeads, optionGradients, bias } = problem
  let floats = 0
  if (optionGradients.includes('alibiSlopes')) floats += nHeads * keyBlocks(problem, backwardBlockN)
  if (optionGradients.includes('sink')) floats += nHeads * queryBlocks(problem, backwardBlockM)
  if (bias && optionGradients.includes('bias')) floats += biasParts(problem, bias.tensor.shape)
  return floats
}

/** A counter per tile of a bias with rows and keys of its own, else a partial sum per row or key and head. */
function biasParts({ batchSize, nHeads, seqlenQ, seqlenK }: AttentionProblem, shape: readonly number[]): number {
  const [perKey, perRow] = [(shape.at(-1) ?? 1) > 1, (shape.at(-2) ?? 1) > 1]
  if (!perRow || !perKey) return batchSize * nHeads * (perRow ? seqlenQ : seqlenK)
  return numel(shape.slice(0, -2)) * Math.ceil(seqlenQ / backwardBlockM) * Math.ceil(seqlenK / backwardBlockN)
}

/** Numbers of blocks of query rows over all sequences, as RowBlocks of native/attention-sequences-inl.h counts. */
function queryBlocks({ batchSize, seqlenQ, totalQ, cuSeqlensQ }: AttentionProblem, blockSize: number): number {
  return cuSeqlensQ ? Math.floor(totalQ / blockSize) + batchSize : batchSize * Math.ceil(seqlenQ / blockSize)
}

function keyBlocks({ batchSize, seqlenK, totalK, cuSeqlensK }: AttentionProblem, blockSize: number): number {
  return cuSeqlensK ? Math.floor(totalK / blockSize) + batchSize : batchSize * Math.ceil(seqlenK / blockSize)
}
