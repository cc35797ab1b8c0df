import type { Tape, Variable } from '@tilegrad/autograd'

/**
 * Causal attention as matmul, softmax, matmul, holding the whole Sq × Sk matrix of every head: what flash attention is compared with.
 * q [B, Sq, Hq, D], k and v [B, Sk, Hk, D] → [B, Sq, Hq, D]; Hq a multiple of Hk.
 */
export function standardAttention(tape: Tape, q: Variable, k: Variable, v: Variable): Variable {
  const [batchSize, seqlenQ, nHeads, headDim] = q.shape as [number, number, number, number]
  const [, seqlenK, nHeadsK] = k.shape as [number, number, number, number]
  const scale = 1 / Math.sqrt(headDim)
  const byHead = (x: Variable) => tape.permute(x, [0, 2, 1, 3])
  // The query heads of one key head become rows of one matrix: K and V are not repeated.
  const rows = (nHeads / nHeadsK) * seqlenQ
  const qRows = tape.reshape(tape.copy(byHead(q)), [batchSize, nHeadsK, rows, headDim])
  const scores = tape.matmul(qRows, byHead(k), { transposeB: true })
  const scoresByHead = tape.reshape(scores, [batchSize, nHeads, seqlenQ, seqlenK])
  const p = tape.softmax(scoresByHead, { scale, causal: true })
  // The gradient needs p alone: of the two matrices only one outlives this line.
  for (const done of [scores, scoresByHead]) done.dispose()
  const out = tape.matmul(tape.reshape(p, [batchSize, nHeadsK, rows, seqlenK]), byHead(v))
  return tape.permute(tape.reshape(out, [batchSize, nHeads, seqlenQ, headDim]), [0, 2, 1, 3])
}
