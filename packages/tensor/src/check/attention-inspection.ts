import type { AttentionOptions } from '../attention'
import type { Backend } from '../backend'
import { ArgumentError } from '../errors/argument-error'
import type { Tensor } from '../tensor'
import { ATTENTION_OPTIONS, type AttentionProblem, attentionProblem } from './attention'
import { checkDType, checkInteger, checkLastAxis, checkOptions, checkShape, checkTensors } from './common'

export interface AttentionRowsProblem extends AttentionProblem {
  readonly rows: Int32Array
  /** [B, Hq, rows, Sk] */
  readonly rowsShape: readonly number[]
}

export function checkAttentionRows(
  backend: Backend,
  q: Tensor,
  k: Tensor,
  lse: Tensor,
  rows: ArrayLike<number>,
  options: AttentionOptions = {},
): AttentionRowsProblem {
  const fn = 'attentionRows'
  const problem = inspectionProblem(fn, backend, q, k, lse, options)
  if (typeof rows !== 'object' || rows === null || !Number.isSafeInteger(rows.length)) {
    throw new ArgumentError(fn, 'rows must be an array of query indices', typeof rows)
  }
  for (let r = 0; r < rows.length; r++) {
    const row = rows[r] as number
    if (!(Number.isSafeInteger(row) && row >= 0 && row < problem.seqlenQ)) {
      throw new ArgumentError(fn, `rows must be integers in 0..${problem.seqlenQ - 1}`, String(row))
    }
  }
  return { ...problem, rows: Int32Array.from(rows), rowsShape: [problem.batchSize, problem.nHeads, rows.length, problem.seqlenK] }
}

export interface AttentionColumnSumsProblem extends AttentionProblem {
  /** [B, Hq, Sk] */
  readonly sumsShape: readonly number[]
}

export function checkAttentionColumnSums(
  backend: Backend,
  q: Tensor,
  k: Tensor,
  lse: Tensor,
  options: AttentionOptions = {},
): AttentionColumnSumsProblem {
  const problem = inspectionProblem('attentionColumnSums', backend, q, k, lse, options)
  return { ...problem, sumsShape: [problem.batchSize, problem.nHeads, problem.seqlenK] }
}

export interface AttentionTopKProblem extends AttentionProblem {
  readonly topK: number
  /** [B, Hq, Sq, topK] */
  readonly topKShape: readonly number[]
}

export function checkAttentionTopK(
  backend: Backend,
  q: Tensor,
  k: Tensor,
  lse: Tensor,
  topK: number,
  options: AttentionOptions = {},
): AttentionTopKProblem {
  const problem = inspectionProblem('attentionTopK', backend, q, k, lse, options)
  checkInteger('attentionTopK', 'topK', topK, 1)
  return { ...problem, topK, topKShape: [problem.batchSize, problem.nHeads, problem.seqlenQ, topK] }
}

/** What the three have in common: the scores of a forward pass, without values. */
function inspectionProblem(fn: string, backend: Backend, q: Tensor, k: Tensor, lse: Tensor, options: AttentionOptions): AttentionProblem {
  checkTensors(fn, backend, { q, k, lse })
  checkOptions(fn, options, ATTENTION_OPTIONS)
  if (options.cuSeqlensQ !== undefined || options.cuSeqlensK !== undefined) {
    throw new ArgumentError(fn, 'cuSeqlensQ and cuSeqlensK must be left out: slice q, k and lse to one sequence', 'variable lengths')
  }
  // Values do not matter; k stands in for them.
  const problem = attentionProblem(fn, backend, q, k, k, options)
  checkDType(fn, 'lse', lse, 'f32')
  checkShape(fn, 'lse', lse, problem.lseShape)
  checkLastAxis(fn, { lse })
  return problem
}
