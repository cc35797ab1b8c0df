import type { Kernels } from '@tilegrad/tensor'
import { multiplyTransposed, transposed } from './products'
import type { FloatArray, Reference } from './reference'

type CrossEntropyKernels = Pick<
  Kernels,
  'crossEntropyForward' | 'crossEntropyBackward' | 'linearCrossEntropyForward' | 'linearCrossEntropyBackward'
>

const IGNORE_INDEX = -100

/** Cross-entropy of given logits, and of logits = x·weightᵀ, which the reference simply holds. */
export function crossEntropyKernels(ref: Reference): CrossEntropyKernels {
  return {
    crossEntropyForward(logits, targets, options = {}) {
      const { ignoreIndex = IGNORE_INDEX } = options
      const { loss, lse } = forward(ref, ref.load(logits), ref.loadInts(targets), logits.shape[1] as number, ignoreIndex)
      return { loss: ref.result(loss, [], 'f32'), lse: ref.result(lse, targets.shape, 'f32') }
    },

    crossEntropyBackward(dloss, logits, targets, lse, options = {}) {
      const { ignoreIndex = IGNORE_INDEX, out } = options
      const vocabSize = logits.shape[1] as number
      const dlogits = backward(ref, ref.load(dloss), ref.load(logits), ref.loadInts(targets), ref.load(lse), vocabSize, ignoreIndex)
      return ref.result(dlogits, logits.shape, logits.dtype, out)
    },

    linearCrossEntropyForward(x, weight, targets, options = {}) {
      const { ignoreIndex = IGNORE_INDEX } = options
      const [rows, columns] = x.shape as [number, number]
      const vocabSize = weight.shape[0] as number
      const logits = ref.floats(rows * vocabSize)
      multiplyTransposed(ref.load(x), ref.load(weight), logits, rows, vocabSize, columns)
      const { loss, lse } = forward(ref, logits, ref.loadInts(targets), vocabSize, ignoreIndex)
      return { loss: ref.result(loss, [], 'f32'), lse: ref.result(lse, targets.shape, 'f32') }
    },

    linearCrossEntropyBackward(dloss, x, weight, targets, lse, options = {}) {
      const { ignoreIndex = IGNORE_INDEX, dweightInto } = options
      const [rows, columns] = x.shape as [number, number]
      const vocabSize = weight.shape[0] as number
      const [input, w] = [ref.load(x), ref.load(weight)]
      const logits = ref.floats(rows * vocabSize)
      multiplyTransposed(input, w, logits, rows, vocabSize, columns)
      const dlogits = backward(ref, ref.load(dloss), logits, ref.loadInts(targets), ref.load(lse), vocabSize, ignoreIndex)
      const dx = ref.floats(rows * columns)
      multiplyTransposed(dlogits, transposed(w, vocabSize, columns), dx, rows, columns, vocabSize)
      const dweight = ref.floats(vocabSize * columns)
      multiplyTransposed(transposed(dlogits, rows, vocabSize), transposed(input, rows, columns), dweight, vocabSize, columns, rows)
      return {
        dx: ref.result(dx, x.shape, x.dtype),
        dweight: ref.accumulate(dweight, weight.shape, weight.dtype, dweightInto),
      }
    },
  }
}

/** A target that is neither ignored nor a column makes the loss NaN rather than plausible. */
function forward(
  ref: Reference,
  logits: FloatArray,
  targets: Int32Array,
  vocabSize: number,
  ignoreIndex: number,
): { loss: FloatArray; lse: FloatArray } {
  const { round: r } = ref
  const loss = ref.floats(1)
  const lse = ref.floats(targets.length)
  let sum = 0
  let counted = 0
  targets.forEach((target, row) => {
    lse[row] = logSumExp(r, logits.subarray(row * vocabSize, (row + 1) * vocabSize))
    if (target === ignoreIndex) return
    const logit = target >= 0 && target < vocabSize ? (logits[row * vocabSize + target] as number) : Number.NaN
    sum = r(sum + r((lse[row] as number) - logit))
    counted++
  })
  loss[0] = counted === 0 ? 0 : sum / counted
  return { loss, lse }
}

/** dlogits = dloss/counted·(softmax − onehot(target)), 0 in ignored rows. */
function backward(
  ref: Reference,
  dloss: FloatArray,
  logits: FloatArray,
  targets: Int32Array,
  lse: FloatArray,
  vocabSize: number,
  ignoreIndex: number,
): FloatArray {
  const { round: r } = ref
  const dlogits = ref.floats(logits.length)
  const counted = targets.reduce((n, target) => n + (target === ignoreIndex ? 0 : 1), 0)
  const factor = r((dloss[0] as number) / counted)
  targets.forEach((target, row) => {
    if (target === ignoreIndex) return
    for (let j = 0; j < vocabSize; j++) {
      const at = row * vocabSize + j
      const p = r(Math.exp(r((logits[at] as number) - (lse[row] as number))))
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
