import type { Mutations } from './mutant.testing'

/** Everything but attention, wrong in one way each. */
export const KERNEL_MUTATIONS: Mutations = {
  'matmul ignores alpha': {
    group: 'matmul',
    mutate: (right) => ({ matmul: (a, b, { alpha: _, ...options } = {}) => right.matmul(a, b, options) }),
  },
  'matmul replaces what it should add to': {
    group: 'matmul',
    mutate: (right) => ({
      matmul: (a, b, options = {}) => {
        if (options.accumulateInto) right.scale(options.accumulateInto, 0, { out: options.accumulateInto })
        return right.matmul(a, b, options)
      },
    }),
  },
  'gelu by the sigmoid approximation': {
    group: 'gelu',
    mutate: (right) => ({
      geluForward: (x, options) => {
        const gate = right.scale(x, 1.702)
        const ones = right.scale(x, 1 / 1.702)
        const result = right.swigluForward(gate, ones, options)
        gate.dispose()
        ones.dispose()
        return result
      },
    }),
  },
  'layerNorm with an eps of 1e-6': {
    group: 'layerNorm',
    mutate: (right) => ({ layerNormForward: (x, weight, bias, { eps = 1e-6 } = {}) => right.layerNormForward(x, weight, bias, { eps }) }),
  },
  'rope without its offset': {
    group: 'rope',
    mutate: (right) => ({ ropeForward: (x, cos, sin) => right.ropeForward(x, cos, sin) }),
  },
  'AdamW with a fixed step': {
    group: 'adamwStep',
    mutate: (right) => ({ adamwStep: (p, g, m, v, options) => right.adamwStep(p, g, m, v, { ...options, step: 1 }) }),
  },
  'crossEntropy averages over ignored rows too': {
    group: 'crossEntropy',
    mutate: (right) => ({
      crossEntropyBackward: (dloss, logits, targets, lse, options) => {
        const half = right.scale(dloss, 0.5)
        const result = right.crossEntropyBackward(half, logits, targets, lse, options)
        half.dispose()
        return result
      },
    }),
  },
  'embedding gradient replaces what it should add to': {
    group: 'embedding',
    mutate: (right) => ({
      embeddingBackward: (dout, tokens, vocabSize, { accumulateInto } = {}) => {
        if (accumulateInto) right.scale(accumulateInto, 0, { out: accumulateInto })
        return right.embeddingBackward(dout, tokens, vocabSize, accumulateInto ? { accumulateInto } : {})
      },
    }),
  },
  'scale leaks': {
    group: 'add and scale',
    says: /bytes are still held/,
    mutate: (right, backend) => ({
      scale: (...args) => {
        backend.zeros([1])
        return right.scale(...args)
      },
    }),
  },
  'geluBackward writes into its input': {
    group: 'gelu',
    says: /was changed/,
    mutate: (right) => ({
      geluBackward: (dout, x, options) => {
        const dx = right.geluBackward(dout, x, options)
        right.copy(dx, { out: dout })
        return dx
      },
    }),
  },
  'softmax differs from run to run': {
    group: 'softmax',
    says: /a second run differs/,
    mutate: (right) => {
      let runs = 0
      return {
        softmaxForward: (x, options = {}) =>
          right.softmaxForward(x, { ...options, scale: (options.scale ?? 1) * (1 + 2 ** -23 * (runs++ % 2)) }),
      }
    },
  },
}
