import {
  type CrossEntropyProblem,
  checkCrossEntropyBackward,
  checkCrossEntropyForward,
  checkLinearCrossEntropyBackward,
  checkLinearCrossEntropyForward,
  type Kernels,
  type LinearCrossEntropyProblem,
  type Tensor,
} from '@tilegrad/tensor'
import { multiplyTransposed, transposed } from './products'
import type { FloatArray, Reference } from './reference'

type CrossEntropyKernels = Pick<
  Kernels,
  'crossEntropyForward' | 'crossEntropyBackward' | 'linearCrossEntropyForward' | 'linearCrossEntropyBackward'
>

/** Cross-entropy of given logits, and of logits = x·weightᵀ, which the reference simply holds. */
export function crossEntropyKernels(ref: Reference): CrossEntropyKernels {
  return {
    crossEntropyForward(logits, targets, options) {
      const problem = checkCrossEntropyForward(ref.backend, logits, targets, options)
      return forward(ref, ref.load(logits), targets, problem)
    },

    crossEntropyBackward(dloss, logits, targets, lse, options) {
      const problem = checkCrossEntropyBackward(ref.backend, dloss, logits, targets, lse, options)
      return ref.result(backward(ref, dloss, ref.load(logits), targets, lse, problem), problem.logitsShape, problem.dtype, options?.out)
    },

    linearCrossEntropyForward(x, weight, targets, options) {
      const problem = checkLinearCrossEntropyForward(ref.backend, x, weight, targets, options)
      return forward(ref, linearLogits(ref, ref.load(x), ref.load(weight), problem), targets, problem)
    },

    linearCrossEntropyBackward(dloss, x, weight, targets, lse, options) {
      const problem = checkLinearCrossEntropyBackward(ref.backend, dloss, x, weight, targets, lse, options)
      const { rows, channels, vocabSize, dtype } = problem
      const [input, w] = [ref.load(x), ref.load(weight)]
      const dlogits = backward(ref, dloss, linearLogits(ref, input, w, problem), targets, lse, problem)
      const dx = ref.floats(rows * channels)
      multiplyTransposed(dlogits, transposed(w, vocabSize, channels), dx, rows, channels, vocabSize)
      const dweight = ref.floats(vocabSize * channels)
      multiplyTransposed(transposed(dlogits, rows, vocabSize), transposed(input, rows, channels), dweight, vocabSize, channels, rows)
      return {
        dx: ref.result(dx, x.shape, dtype),
        dweight: ref.accumulate(dweight, weight.shape, dtype, options?.dweightInto),
      }
    },
  }
}

function linearLogits(ref: Reference, x: FloatArray, weight: FloatArray, problem: LinearCrossEntropyProblem): FloatArray {
  const { rows, vocabSize, channels } = problem
  const logits = ref.floats(rows * vocabSize)
  multiplyTransposed(x, weight, logits, rows, vocabSize, channels)
  return logits
}

/** A target that is neither ignored nor a column makes the loss NaN rather than plausible. */
function forward(ref: Reference, logits: FloatArray, targets: Tensor, problem: CrossEntropyProblem): { loss: Tensor; lse: Tensor } {
  const { round: r } = ref
  const { rows, vocabSize, ignoreIndex, lossShape, lseShape } = problem
  const loss = ref.floats(1)
  const lse = ref.floats(rows)
  let sum = 0
  let counted = 0
  ref.loadInts(targets).forEach((target, row) => {
    lse[row] = logSumExp(r, logits.subarray(row * vocabSize, (row + 1) * vocabSize))
    if (target === ignoreIndex) return
    const logit = target >= 0 && target < vocabSize ? (logits[row * vocabSize + target] as number) : Number.NaN
    sum = r(sum + r((lse[row] as number) - logit))
    counted++
  })
  loss[0] = counted === 0 ? 0 : sum / counted
  return { loss: ref.result(loss, lossShape, 'f32'), lse: ref.result(lse, lseShape, 'f32') }
}

/** dlogits = dloss/counted·(softmax − onehot(target)), 0 in ignored rows. */
function backward(
  ref: Reference,
  dloss: Tensor,
  logits: FloatArray,
  targets: Tensor,
  lse: Tensor,
  problem: CrossEntropyProblem,
): FloatArray {
  const { round: r } = ref
  const { vocabSize, ignoreIndex } = problem
  const dlogits = ref.floats(logits.length)
  const labels = ref.loadInts(targets)
  const lses = ref.load(lse)
  const counted = labels.reduce((n, target) => n + (target === ignoreIndex ? 0 : 1), 0)
  const factor = r((ref.load(dloss)[0] as number) / counted)
  labels.forEach((target, row) => {
    if (target === ignoreIndex) return
    for (let j = 0; j < vocabSize; j++) {
      const at = row * vocabSize + j
      const p = r(Math.exp(r((logits[at] as number) - (lses[row] as number))))
      dlogits[at] = factor * (j === target ? r(p - 1) : p)
    }
  })
  return dlogits
}

function logSumExp(r: (x: number) => number, row: FloatArray): number {
  let max = Number.NEGATIVE_INFINITY
  for (let j = 0; j < row.length; j++) max = Math.max(max, row[j] as number)
  if (max === Number.NEGATIVE_INFINITY) return max
  let sum = 0
  for (let j = 0; j < row.length; j++) sum = r(sum + r(Math.exp(r((row[j] as number) - max))))
  return r(max + r(Math.log(sum)))
}
