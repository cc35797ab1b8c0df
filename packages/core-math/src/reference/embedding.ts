import type { Kernels } from '@tilegrad/tensor'
import type { Reference } from './reference'

/** Rows of a table and their gradient. */
export function embeddingKernels(ref: Reference): Pick<Kernels, 'embeddingForward' | 'embeddingBackward'> {
  return {
    embeddingForward(tokens, weight) {
      const [vocabSize, columns] = weight.shape as [number, number]
      const [ids, table] = [ref.loadInts(tokens), ref.load(weight)]
      const out = ref.floats(ids.length * columns)
      ids.forEach((id, row) => {
        if (id >= 0 && id < vocabSize) out.set(table.subarray(id * columns, (id + 1) * columns), row * columns)
      })
      return ref.result(out, [...tokens.shape, columns], weight.dtype)
    },

    embeddingBackward(dout, tokens, vocabSize, options = {}) {
      const columns = dout.shape.at(-1) as number
      const [grad, ids] = [ref.load(dout), ref.loadInts(tokens)]
      const dweight = ref.floats(vocabSize * columns)
      ids.forEach((id, row) => {
        if (id < 0 || id >= vocabSize) return
        for (let j = 0; j < columns; j++) {
          dweight[id * columns + j] = (dweight[id * columns + j] as number) + (grad[row * columns + j] as number)
        }
      })
      return ref.accumulate(dweight, [vocabSize, columns], dout.dtype, options.accumulateInto)
    },
  }
}
