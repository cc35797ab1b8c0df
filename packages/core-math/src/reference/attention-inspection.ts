import {
  type AttentionProblem,
  checkAttentionColumnSums,
  checkAttentionRows,
  checkAttentionTopK,
  type Kernels,
  type Tensor,
} from '@tilegrad/tensor'
import { scoreValuesOf } from './attention'
import { type Head, headsOf, takeHead } from './attention-head'
import { headScores } from './attention-scores'
import type { FloatArray, Reference } from './reference'

/** What attention looks at, from the whole matrix of scores of a head and its lse: P = exp(S − lse), before dropout. */
export function attentionInspectionKernels(ref: Reference): Pick<Kernels, 'attentionRows' | 'attentionColumnSums' | 'attentionTopK'> {
  const { round: r } = ref
  return {
    attentionRows(q, k, lse, rows, options) {
      const problem = checkAttentionRows(ref.backend, q, k, lse, rows, options)
      const { seqlenK, nHeads, rows: chosen } = problem
      const result = ref.floats(problem.batchSize * nHeads * chosen.length * seqlenK)
      eachHead(ref, problem, q, k, lse, ({ b, h }, _, p) => {
        chosen.forEach((i, n) => {
          result.set(p.subarray(i * seqlenK, (i + 1) * seqlenK), ((b * nHeads + h) * chosen.length + n) * seqlenK)
        })
      })
      return ref.result(result, problem.rowsShape, 'f32')
    },

    attentionColumnSums(q, k, lse, options) {
      const problem = checkAttentionColumnSums(ref.backend, q, k, lse, options)
      const { seqlenQ, seqlenK, nHeads } = problem
      const result = ref.floats(problem.batchSize * nHeads * seqlenK)
      eachHead(ref, problem, q, k, lse, ({ b, h }, _, p) => {
        const sums = result.subarray((b * nHeads + h) * seqlenK)
        for (let i = 0; i < seqlenQ; i++) {
          for (let j = 0; j < seqlenK; j++) sums[j] = r((sums[j] as number) + (p[i * seqlenK + j] as number))
        }
      })
      return ref.result(result, problem.sumsShape, 'f32')
    },

    attentionTopK(q, k, lse, topK, options) {
      const problem = checkAttentionTopK(ref.backend, q, k, lse, topK, options)
      const { seqlenQ, seqlenK, nHeads } = problem
      const rows = problem.batchSize * nHeads * seqlenQ
      const probabilities = ref.floats(rows * topK)
      const indices = new Int32Array(rows * topK).fill(-1)
      eachHead(ref, problem, q, k, lse, ({ b, h }, scores, p) => {
        for (let i = 0; i < seqlenQ; i++) {
          const at = ((b * nHeads + h) * seqlenQ + i) * topK
          const row = scores.subarray(i * seqlenK, (i + 1) * seqlenK)
          const seen = Array.from(row.keys()).filter((j) => row[j] !== Number.NEGATIVE_INFINITY)
          // The sort is stable: of equal scores the lower index stays first.
          const best = seen.sort((x, y) => (row[y] as number) - (row[x] as number)).slice(0, topK)
          best.forEach((j, n) => {
            indices[at + n] = j
            probabilities[at + n] = p[i * seqlenK + j] as number
          })
        }
      })
      return {
        probabilities: ref.result(probabilities, problem.topKShape, 'f32'),
        indices: ref.backend.tensor(indices, problem.topKShape),
      }
    },
  }
}

/** Calls `use` with the scores and the probabilities [seqlenQ, seqlenK] of every head. */
function eachHead(
  ref: Reference,
  problem: AttentionProblem,
  q: Tensor,
  k: Tensor,
  lse: Tensor,
  use: (head: Head, scores: FloatArray, p: FloatArray) => void,
): void {
  const { round: r } = ref
  const { nHeads, nHeadsK, headDim } = problem
  const [queries, keys, lses] = [ref.load(q), ref.load(k), ref.load(lse)]
  const scoreValues = scoreValuesOf(ref, problem)
  for (const head of headsOf(problem)) {
    const { beginQ, seqlenQ, beginK, seqlenK, h, hk, lseBegin } = head
    const qHead = takeHead(ref, queries, beginQ, seqlenQ, h, nHeads, headDim)
    const kHead = takeHead(ref, keys, beginK, seqlenK, hk, nHeadsK, headDim)
    const { scores } = headScores(ref, problem, head, qHead, kHead, scoreValues)
    const p = scores.slice()
    for (let at = 0; at < p.length; at++) {
      const s = p[at] as number
      p[at] = s === Number.NEGATIVE_INFINITY ? 0 : Math.exp(r(s - (lses[lseBegin + Math.floor(at / seqlenK)] as number)))
    }
    use(head, scores, p)
  }
}
