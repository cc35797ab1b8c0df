import { checkEmbeddingBackward, checkEmbeddingForward, type Kernels } from '@tilegrad/tensor'
import type { Reference } from './reference'

/** Rows of a table and their gradient. */
export function embeddingKernels(ref: Reference): Pick<Kernels, 'embeddingForward' | 'embeddingBackward'> {
  return {
    embeddingForward(tokens, weight) {
      const { vocabSize, channels, outShape, dtype } = checkEmbeddingForward(ref.backend, tokens, weight)
      const [ids, table] = [ref.loadInts(tokens), ref.load(weight)]
      const out = ref.floats(ids.length * channels)
      ids.forEach((id, row) => {
        if (id >= 0 && id < vocabSize) out.set(table.subarray(id * channels, (id + 1) * channels), row * channels)
      })
      return ref.result(out, outShape, dtype)
    },

    embeddingBackward(dout, tokens, vocabSize, options = {}) {
      const { channels, outShape, dtype } = checkEmbeddingBackward(ref.backend, dout, tokens, vocabSize, options)
      const [grad, ids] = [ref.load(dout), ref.loadInts(tokens)]
      const dweight = ref.floats(vocabSize * channels)
      ids.forEach((id, row) => {
        if (id < 0 || id >= vocabSize) return
        for (let j = 0; j < channels; j++) {
          dweight[id * channels + j] = (dweight[id * channels + j] as number) + (grad[row * channels + j] as number)
        }
      })
      return ref.accumulate(dweight, outShape, dtype, options.accumulateInto)
    },
  }
}
