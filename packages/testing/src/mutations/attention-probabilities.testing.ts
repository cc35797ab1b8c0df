import { dropoutRow, type HeadProblem } from '@tilegrad/core-math'
import {
  type AttentionBackwardOptions,
  type AttentionForwardOptions,
  type AttentionOptions,
  type Backend,
  checkAttentionForward,
  type Kernels,
  type Tensor,
} from '@tilegrad/tensor'
import { elements, type Mutation, type Mutations, using } from './mutant.testing'

/** What a forward pass that returns probabilities makes them of. */
interface Forward {
  readonly right: Kernels
  readonly backend: Backend
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  readonly lse: Tensor
  readonly options: AttentionOptions
}

type Probabilities = (forward: Forward) => Tensor

/** Those of rows 0, 1, …, or of others in their place. */
function rows({ right, q, k, lse, options }: Forward, row = (i: number) => i): Tensor {
  return right.attentionRows(
    q,
    k,
    lse,
    Array.from({ length: q.shape[1] as number }, (_, i) => row(i)),
    options,
  )
}

/** A forward pass that returns probabilities; where it was asked to and may. */
function returning(
  probabilities: Probabilities,
  when = (asked: boolean, may: boolean, _options: AttentionOptions) => asked && may,
): Mutation {
  return (right, backend) => ({
    attentionForward: (q, k, v, options: AttentionForwardOptions = {}) => {
      const may = checkAttentionForward(backend, q, k, v, { ...options, saveProbabilities: true }).saveProbabilities
      const { saveProbabilities = false, ...rest } = options
      const { out, lse } = right.attentionForward(q, k, v, rest)
      if (!when(saveProbabilities, may, rest)) return { out, lse }
      return { out, lse, probabilities: probabilities({ right, backend, q, k, v, lse, options: rest }) }
    },
  })
}

/** A right forward pass that returns probabilities, and a backward pass that makes the wrong thing of them. */
function reading(
  wrong: (
    right: Kernels,
    backend: Backend,
    probabilities: Tensor,
    ...args: Parameters<Kernels['attentionBackward']>
  ) => ReturnType<Kernels['attentionBackward']>,
): Mutation {
  return (right, backend) => ({
    ...returning(rows)(right, backend),
    attentionBackward: (dout, q, k, v, out, lse, options: AttentionBackwardOptions = {}) => {
      const { probabilities, ...rest } = options
      const args = [dout, q, k, v, out, lse, rest] as const
      return probabilities ? wrong(right, backend, probabilities, ...args) : right.attentionBackward(...args)
    },
  })
}

/** Probabilities with each row changed. */
const changed =
  (change: (row: Float32Array, i: number, batchHead: number, forward: Forward) => Float32Array): Probabilities =>
  (forward) =>
    using(rows(forward), (x) => {
      const data = elements(forward.right, x)
      const [, , seqlenQ, seqlenK] = x.shape as [number, number, number, number]
      for (let at = 0; at < data.length; at += seqlenK) {
        const row = at / seqlenK
        data.set(change(data.slice(at, at + seqlenK), row % seqlenQ, Math.floor(row / seqlenQ), forward), at)
      }
      return forward.backend.tensor(data, x.shape)
    })

function dropped(row: Float32Array, i: number, batchHead: number, { backend, q, k, v, options }: Forward): Float32Array {
  const { dropoutP, dropoutThreshold, seed } = checkAttentionForward(backend, q, k, v, options)
  const factors = dropoutRow({ dropoutP, dropoutThreshold, seed, batchHead } as HeadProblem, i, 0, row.length)
  return factors ? row.map((p, j) => p * (factors[j] as number)) : row
}

/** By the lse of a forward pass with other options. */
const normalisedBy =
  (change: (options: AttentionOptions) => AttentionOptions): Probabilities =>
  (forward) => {
    const { right, q, k, v, options } = forward
    const { out, lse } = right.attentionForward(q, k, v, change(options))
    out.dispose()
    return using(lse, () => rows({ ...forward, lse }))
  }

/** dV with the probabilities of the next query head; the cases that catch it have no dropout. */
function dvOfNextHead(right: Kernels, backend: Backend, probabilities: Tensor, dout: Tensor, dv: Tensor): void {
  const [batchSize, nHeads, seqlenQ, seqlenK] = probabilities.shape as [number, number, number, number]
  const [nHeadsK, headDimV] = dv.shape.slice(-2) as [number, number]
  const [p, g] = [elements(right, probabilities), elements(right, dout)]
  const data = new Float32Array(batchSize * seqlenK * nHeadsK * headDimV)
  for (let row = 0; row < batchSize * nHeads * seqlenQ; row++) {
    const [b, h, i] = [Math.floor(row / (nHeads * seqlenQ)), Math.floor(row / seqlenQ) % nHeads, row % seqlenQ]
    const from = ((b * nHeads + ((h + 1) % nHeads)) * seqlenQ + i) * seqlenK
    for (let j = 0; j < seqlenK; j++) {
      const to = ((b * seqlenK + j) * nHeadsK + Math.floor((h * nHeadsK) / nHeads)) * headDimV
      for (let d = 0; d < headDimV; d++) {
        data[to + d] = (data[to + d] as number) + (p[from + j] as number) * (g[((b * seqlenQ + i) * nHeads + h) * headDimV + d] as number)
      }
    }
  }
  using(backend.tensor(data, dv.shape), (x) => right.copy(x, { out: dv }))
}

/** A right backend that returns probabilities, as the reference does not. */
export const RETURNS_PROBABILITIES: Mutation = returning(rows)

const moreThanMayBe = returning(rows, (asked, _, { cuSeqlensQ }) => asked && !cuSeqlensQ)

const GROUP = 'attention probabilities'

/** Backends that return probabilities, wrong in one way each. */
export const ATTENTION_PROBABILITY_MUTATIONS: Mutations = {
  'probabilities not divided by the row sum': {
    group: GROUP,
    // exp(score − row maximum), of which the largest is 1.
    mutate: returning(changed((row) => row.map((p) => (p > 0 ? p / Math.max(...row) : 0)))),
  },
  'probabilities of the row before': { group: GROUP, mutate: returning((forward) => rows(forward, (i) => Math.max(0, i - 1))) },
  'probabilities after dropout': { group: GROUP, mutate: returning(changed(dropped)) },
  'probabilities without the share of the sink': { group: GROUP, mutate: returning(normalisedBy(({ sink: _, ...rest }) => rest)) },
  'probabilities of hidden keys not 0': {
    group: GROUP,
    mutate: returning((forward) => rows({ ...forward, options: { ...forward.options, causal: false } })),
  },
  'probabilities returned for more than 256 keys': { group: GROUP, says: /among the results/, mutate: moreThanMayBe },
  'probabilities returned for more than 256 keys, in memory': { group: 'attention memory', says: /bytes more/, mutate: moreThanMayBe },
  'probabilities returned for packed sequences': {
    group: GROUP,
    says: /must be left out/,
    mutate: returning(
      ({ backend }) => backend.zeros([1]),
      (asked, _, { cuSeqlensQ }) => asked && cuSeqlensQ !== undefined,
    ),
  },
  'probabilities returned without being asked for': {
    group: 'attention',
    says: /among the results/,
    mutate: returning(rows, (_, may) => may),
  },
  'out by another way where probabilities are asked for': {
    group: GROUP,
    says: /asked for probabilities differs/,
    mutate: (right) => ({
      attentionForward: (q, k, v, { saveProbabilities = false, ...options } = {}) => {
        const { out, lse } = right.attentionForward(q, k, v, options)
        return { out: saveProbabilities ? right.scale(out, 1 + 2 ** -23, { out }) : out, lse }
      },
    }),
  },
  'backward pass with probabilities 0.1 % off': {
    group: GROUP,
    mutate: reading((right, backend, _, dout, q, k, v, out, lse, options) => {
      const larger = backend.tensor(
        elements(right, lse).map((value) => value - Math.log(1.001)),
        lse.shape,
      )
      return using(larger, () => right.attentionBackward(dout, q, k, v, out, larger, options))
    }),
  },
  'backward pass with the probabilities of the next head': {
    group: GROUP,
    mutate: reading((right, backend, probabilities, dout, ...args) => {
      const result = right.attentionBackward(dout, ...args)
      if (args[5]?.dropoutP === undefined) dvOfNextHead(right, backend, probabilities, dout, result.dv)
      return result
    }),
  },
  'no delta in the backward pass that has probabilities': {
    group: GROUP,
    mutate: reading((right, _backend, _, dout, q, k, v, out, lse, options) =>
      using(right.scale(out, 0), (zeros) => right.attentionBackward(dout, q, k, v, zeros, lse, options)),
    ),
  },
  'no dropout in the backward pass that has probabilities': {
    group: GROUP,
    mutate: reading((right, _backend, _, dout, q, k, v, out, lse, { dropoutP, seed, ...options } = {}) =>
      right.attentionBackward(dout, q, k, v, out, lse, options),
    ),
  },
}
