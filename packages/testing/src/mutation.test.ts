import { createReferenceBackend } from '@tilegrad/core-math'
import type { AttentionOptions, Backend, Kernels, Tensor } from '@tilegrad/tensor'
import { expect, it } from 'vitest'
import { type ConformanceCase, conformanceCases, createOracle, type Oracle } from './cases'

// The suite is worth what it catches: each of these backends is wrong in one way that passes for right at a glance.

type Mutation = (right: Kernels, backend: Backend) => Partial<Kernels>

/** Attention with other options than were asked for. */
const withOptions =
  (change: (options: AttentionOptions, headDim: number) => AttentionOptions): Mutation =>
  (right) => ({
    attentionForward: (q, k, v, options = {}) => right.attentionForward(q, k, v, change(options, q.shape[3] as number)),
    attentionBackward: (dout, q, k, v, out, lse, options = {}) =>
      right.attentionBackward(dout, q, k, v, out, lse, change(options, q.shape[3] as number)),
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

const MUTATIONS: Readonly<Record<string, { group: string; mutate: Mutation; says?: RegExp }>> = {
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
        const { dq, dk, dv } = right.attentionBackward(dout, q, k, v, out, lse, options)
        return { dq: right.scale(dq, 1.0001, { out: dq }), dk, dv }
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
  'no checks': {
    group: 'misuse',
    says: /expected/,
    mutate: (right) => ({ attentionForward: (q, k, v) => right.attentionForward(q, k, v) }),
  },
}

/** A backend whose kernels are `backend`'s but for some. */
function mutant(backend: Backend, mutate: Mutation): Backend {
  const kernels = { ...backend.kernels, ...mutate(backend.kernels, backend) }
  return new Proxy(backend, {
    get: (target, key) => {
      if (key === 'kernels') return kernels
      const value = Reflect.get(target, key) as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** The first case that fails, with its message. */
async function firstFailure(cases: readonly ConformanceCase[], backend: Backend, oracle: Oracle) {
  for (const item of cases) {
    try {
      await item.run(backend, oracle)
    } catch (error) {
      return { item, message: (error as Error).message }
    }
  }
  return undefined
}

const CASES = conformanceCases({ sizes: 'small' })

it.each(Object.entries(MUTATIONS))('catches a backend that is wrong: %s', async (_, { group, mutate, says = /exceeds|instead of/ }) => {
  const cases = CASES.filter((item) => item.group === group)
  const right = createReferenceBackend({ precision: 'f32' })
  const oracle = createOracle()
  const failure = await firstFailure(cases, mutant(right, mutate), oracle)
  expect(failure?.message).toMatch(says)
  // The same case passes without the mutation.
  await failure?.item.run(right, oracle)
})
