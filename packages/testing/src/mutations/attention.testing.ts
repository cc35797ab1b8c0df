import type { AttentionOptions, Backend, Kernels, Tensor } from '@tilegrad/tensor'
import { elements, type Mutation, type Mutations, using } from './mutant.testing'

/** Attention with other options than were asked for. */
export const withOptions =
  (change: (options: AttentionOptions, headDim: number) => AttentionOptions): Mutation =>
  (right) => ({
    attentionForward: (q, k, v, options = {}) => right.attentionForward(q, k, v, change(options, q.shape.at(-1) as number)),
    attentionBackward: (dout, q, k, v, out, lse, options = {}) =>
      right.attentionBackward(dout, q, k, v, out, lse, change(options, q.shape.at(-1) as number)),
  })

/** Calls `then` with x with its heads in another order. */
function withHeads<T>(right: Kernels, x: Tensor, order: readonly number[], then: (x: Tensor) => T): T {
  const copy = right.copy(x)
  for (const [to, from] of order.entries()) {
    const at = (h: number) =>
      [
        [0, 0, h],
        [x.shape[0] as number, x.shape[1] as number, h + 1],
      ] as const
    const target = copy.slice(...at(to))
    const source = x.slice(...at(from))
    right.copy(source, { out: target })
    target.dispose()
    source.dispose()
  }
  const result = then(copy)
  copy.dispose()
  return result
}

/** Query heads in the order in which head h would read key head h mod nHeadsK. */
function interleaved(nHeads: number, nHeadsK: number): number[] {
  return Array.from({ length: nHeads }, (_, h) => Math.floor(h / nHeadsK) + (h % nHeadsK) * (nHeads / nHeadsK))
}

/** O of the first half of the keys, added to that of the second without exp(old maximum − new maximum): step 4 of the tiled algorithm. */
function withoutRescale(right: Kernels, backend: Backend, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions) {
  const result = right.attentionForward(q, k, v, options)
  const [batchSize, seqlenQ, nHeads, headDimV] = result.out.shape as [number, number, number, number]
  const seqlenK = k.shape[1] as number
  const half = Math.floor(seqlenK / 2)
  if (half === 0 || Object.keys(options).some((name) => name !== 'softmaxScale' && name !== 'softcap')) return result
  const part = (begin: number, end: number) => {
    const keys = k.slice([0, begin], [batchSize, end])
    const values = v.slice([0, begin], [batchSize, end])
    const { out, lse } = right.attentionForward(q, keys, values, options)
    const top = right.attentionTopK(q, keys, lse, 1, options)
    const data = { out: elements(right, out), lse: elements(right, lse), p: elements(right, top.probabilities) }
    for (const tensor of [keys, values, out, lse, top.probabilities, top.indices]) tensor.dispose()
    return { ...data, max: data.lse.map((value, row) => value + Math.log(data.p[row] as number)) }
  }
  const [first, second] = [part(0, half), part(half, seqlenK)]
  const lse = elements(right, result.lse)
  const wrong = first.out.map((value, at) => {
    const row = Math.floor(at / headDimV)
    const [b, i, h] = [Math.floor(row / (nHeads * seqlenQ)), Math.floor(row / nHeads) % seqlenQ, row % nHeads]
    const of = (b * nHeads + h) * seqlenQ + i
    const max = Math.max(first.max[of] as number, second.max[of] as number)
    const weight = (which: typeof first, from: number) => Math.exp((which.lse[of] as number) - from)
    const sum = value * weight(first, first.max[of] as number) + (second.out[at] as number) * weight(second, max)
    return sum / Math.exp((lse[of] as number) - max)
  })
  using(backend.tensor(wrong, result.out.shape), (out) => right.copy(out, { out: result.out }))
  return result
}

/** Attention without further options, wrong in one way each. */
export const ATTENTION_MUTATIONS: Mutations = {
  'window one too wide on the left': {
    group: 'attention',
    mutate: withOptions(({ windowSize, ...rest }) =>
      windowSize && windowSize[0] >= 0
        ? { ...rest, windowSize: [windowSize[0] + 1, windowSize[1]] }
        : { ...rest, ...(windowSize && { windowSize }) },
    ),
  },
  'softmaxScale 0.1 % off': {
    group: 'attention',
    mutate: withOptions((options, headDim) => ({ ...options, softmaxScale: 1.001 * (options.softmaxScale ?? headDim ** -0.5) })),
  },
  'softmaxScale 0.01 % off in the backward pass alone': {
    group: 'attention',
    mutate: (right) => ({
      attentionBackward: (dout, q, k, v, out, lse, options = {}) => {
        const gradients = right.attentionBackward(dout, q, k, v, out, lse, options)
        right.scale(gradients.dq, 1.0001, { out: gradients.dq })
        return gradients
      },
    }),
  },
  'causal from the top left': { group: 'attention', mutate: withOptions((options) => ({ ...options, causalAlign: 'top-left' })) },
  'no softcap': { group: 'attention', mutate: withOptions(({ softcap: _, ...options }) => options) },
  'softcap without its gradient': {
    group: 'attention',
    // With dS left uncapped, dQ is what it would be if each query's cap were straight: close to right where scores are small.
    mutate: (right) => ({
      attentionBackward: (dout, q, k, v, out, lse, options = {}) => {
        if (options.softcap === undefined) return right.attentionBackward(dout, q, k, v, out, lse, options)
        const { softcap: _, ...uncapped } = options
        const plain = right.attentionForward(q, k, v, uncapped)
        const result = right.attentionBackward(dout, q, k, v, plain.out, plain.lse, uncapped)
        plain.out.dispose()
        plain.lse.dispose()
        return result
      },
    }),
  },
  'no delta': {
    group: 'attention',
    mutate: (right) => ({
      attentionBackward: (dout, q, k, v, out, lse, options) => {
        const zeros = right.scale(out, 0)
        const result = right.attentionBackward(dout, q, k, v, zeros, lse, options)
        zeros.dispose()
        return result
      },
    }),
  },
  'query head h reads key head h mod Hk': {
    group: 'attention',
    mutate: (right) => ({
      attentionForward: (q, k, v, options) => {
        const order = interleaved(q.shape[2] as number, k.shape[2] as number)
        const back = order.map((_, h) => order.indexOf(h))
        // Head h is put where it meets key head h mod Hk, and its result is put back.
        const { out, lse } = withHeads(right, q, back, (moved) => right.attentionForward(moved, k, v, options))
        return { out: withHeads(right, out, order, (moved) => right.copy(moved, { out })), lse }
      },
    }),
  },
  'gradients of the last key missing': {
    group: 'attention',
    mutate: (right) => ({
      attentionBackward: (...args) => {
        const result = right.attentionBackward(...args)
        const [batchSize, seqlenK] = result.dv.shape as [number, number]
        if (seqlenK > 0) {
          const last = result.dv.slice([0, seqlenK - 1], [batchSize, seqlenK])
          const zero = right.scale(last, 0)
          right.copy(zero, { out: last })
          zero.dispose()
          last.dispose()
        }
        return result
      },
    }),
  },
  'O not rescaled when the row maximum rises': {
    group: 'attention',
    mutate: (right, backend) => ({ attentionForward: (q, k, v, options = {}) => withoutRescale(right, backend, q, k, v, options) }),
  },
  'no checks': {
    group: 'misuse',
    says: /expected/,
    mutate: (right) => ({ attentionForward: (q, k, v) => right.attentionForward(q, k, v) }),
  },
}
