import { attentionRandomWord } from '@tilegrad/core-math'
import type { AttentionOptions, Backend, Kernels, Tensor } from '@tilegrad/tensor'
import { type KernelCase, orDispose } from '../../kernel-case'
import type { ConformanceCase } from '../conformance-case'
import type { Sizes } from '../sizes'
import { attention } from './attention-case'
import type { AttentionCase } from './attention-data'

const GROUP = 'attention dropout'

/** Results with dropout, against an oracle that draws the same mask. */
export function dropoutCases(sizes: Sizes): KernelCase[] {
  const dropout = (options: AttentionOptions, overrides: Partial<AttentionCase> = {}) =>
    attention({ seqlenQ: 61, seqlenK: 133, nHeads: 4, nHeadsK: 2, headDim: 32, ...overrides, options }, GROUP)
  return [
    dropout({ dropoutP: 0.1, seed: 0 }),
    dropout({ dropoutP: 0.5, seed: 1 }, { batchSize: 2 }),
    dropout({ dropoutP: 0.9, seed: 2 ** 32 + 5 }),
    dropout({ dropoutP: 0.999, seed: 2 ** 53 - 1 }),
    dropout({ dropoutP: 0, seed: 7 }),
    dropout({ dropoutP: 0.3, seed: 3, causal: true }),
    dropout({ dropoutP: 0.3, seed: 3, windowSize: [30, 2] }, { seqlenQ: 133, seqlenK: 61, batchSize: 2 }),
    dropout({ dropoutP: 0.2, seed: 4, causal: true, causalAlign: 'top-left', softcap: 2 }),
    dropout({ dropoutP: 0.2, seed: 5 }, { batchSize: 2, seqlenQ: 65, seqlenK: 65, nHeads: 3, nHeadsK: 3, layout: 'packed' }),
    dropout({ dropoutP: 0.4, seed: 6 }, { headDim: 40, headDimV: 17, logits: 20 }),
    dropout({ dropoutP: 0.5, seed: 8 }, { seqlenQ: 1, seqlenK: sizes === 'full' ? 4097 : 1025, nHeads: 2, nHeadsK: 1 }),
    dropout({ dropoutP: 0.5, seed: 9 }, { seqlenK: 701, nHeads: 2, nHeadsK: 1, keys: 'rising' }),
    dropout({ dropoutP: 0.5, seed: 9 }, { seqlenQ: 1, seqlenK: 1 }),
    dropout({ dropoutP: 0.5, seed: 9 }, { seqlenQ: 4, seqlenK: 0 }),
    // Counters are (b·Hq + h, i, j) within each sequence.
    dropout(
      { dropoutP: 0.3, seed: 10, causal: true },
      {
        sequences: [
          [33, 65],
          [0, 3],
          [70, 70],
          [1, 50],
        ],
      },
    ),
  ]
}

interface MaskCase {
  readonly batchSize: number
  readonly seqlenQ: number
  readonly seqlenK: number
  readonly nHeads: number
  readonly nHeadsK: number
  readonly dropoutP: number
  readonly seed: number
}

/** The mask itself, bit by bit: as the forward pass, dV, dQ and dK apply it. */
export function dropoutMaskCases(sizes: Sizes): ConformanceCase[] {
  const at = { batchSize: 2, nHeads: 3, nHeadsK: 1 }
  const cases: MaskCase[] = [
    { ...at, seqlenQ: 33, seqlenK: 61, dropoutP: 0.1, seed: 0 },
    { ...at, seqlenQ: 61, seqlenK: 33, dropoutP: 0.5, seed: 2 ** 32 + 1 },
    { ...at, seqlenQ: 7, seqlenK: 255, dropoutP: 0.9, seed: 2 ** 53 - 1 },
    { ...at, seqlenQ: 1, seqlenK: 129, dropoutP: 0.5, seed: 2 ** 31 },
    ...(sizes === 'full' ? [{ ...at, seqlenQ: 201, seqlenK: 253, dropoutP: 0.25, seed: 20220527 }] : []),
  ]
  return cases.map((of) => ({
    group: GROUP,
    name: `mask of ${JSON.stringify(of)}, bit by bit`,
    run: (backend) => checkMask(backend, of),
  }))
}

async function checkMask(backend: Backend, of: MaskCase): Promise<void> {
  const { batchSize, seqlenQ, seqlenK, nHeads, dropoutP } = of
  const bytes = backend.memory().bytes
  const expected = expectedMask(of)
  const counted = expected.reduce((sum, bit) => sum + bit, 0)
  const pairs = batchSize * nHeads * seqlenQ * seqlenK
  // 5 standard deviations of a binomial: what fails it by chance is 1 seed in 2 million.
  const spread = 5 * Math.sqrt(pairs * dropoutP * (1 - dropoutP))
  if (Math.abs(counted - pairs * (1 - dropoutP)) > spread)
    throw new Error(`${counted} of ${pairs} pairs are kept with dropoutP ${dropoutP}`)
  for (const [name, masked] of Object.entries({ out: maskedOut, dv: maskedDv, dq: maskedDq, dk: maskedDk })) {
    const kept = await keptPairs(backend, of, masked)
    const at = expected.findIndex((bit, pair) => bit !== kept(pair))
    if (at < 0) continue
    const [b, h] = [Math.floor(at / (nHeads * seqlenQ * seqlenK)), Math.floor(at / (seqlenQ * seqlenK)) % nHeads]
    const where = `batch entry ${b}, head ${h}, query ${Math.floor(at / seqlenK) % seqlenQ}, key ${at % seqlenK}`
    throw new Error(`${name}: kept ${kept(at)} instead of ${expected[at]} for the pair of ${where}`)
  }
  await backend.sync()
  if (backend.memory().bytes !== bytes) throw new Error('bytes are still held after every tensor was disposed')
}

/** [B, Hq, Sq, Sk]: 1 = kept. */
function expectedMask({ batchSize, seqlenQ, seqlenK, nHeads, dropoutP, seed }: MaskCase): Uint8Array {
  const threshold = Math.floor(dropoutP * 2 ** 32)
  return Uint8Array.from({ length: batchSize * nHeads * seqlenQ * seqlenK }, (_, at) => {
    const row = Math.floor(at / seqlenK)
    return attentionRandomWord(seed, Math.floor(row / seqlenQ), row % seqlenQ, at % seqlenK) >= threshold ? 1 : 0
  })
}

type Make = (shape: readonly number[], value?: (at: number) => number) => Tensor

/** A result in which pair (i, j) of a head shows by itself. */
interface Masked {
  readonly result: Tensor
  readonly others: readonly Tensor[]
  /** Where it shows: [B, Sq, Hq, Sk], or [B, Sk, Hk, Sq], whose elements sum the query heads of a group. */
  readonly lies: 'queries' | 'keys'
}

/**
 * Whether a pair was kept, by its index in [B, Hq, Sq, Sk].
 *
 * All scores are 0, so that p is 1/Sk, and a kept pair of query head g of its group shows as 2^g/(Sk·(1 − dropoutP)).
 */
async function keptPairs(
  backend: Backend,
  of: MaskCase,
  masked: (kernels: Kernels, make: Make, of: MaskCase) => Masked,
): Promise<(pair: number) => number> {
  const { seqlenQ, seqlenK, nHeads, nHeadsK, dropoutP } = of
  const made: Tensor[] = []
  const make: Make = (shape, value = () => 0) => {
    const length = shape.reduce((a, b) => a * b, 1)
    const tensor = backend.tensor(
      Float32Array.from({ length }, (_, at) => value(at)),
      shape,
    )
    made.push(tensor)
    return tensor
  }
  const { result, others, lies } = orDispose(made, () => masked(backend.kernels, make, of))
  const data = await result.read()
  for (const tensor of [...made, result, ...others]) tensor.dispose()
  const groupSize = nHeads / nHeadsK
  return (pair) => {
    const [row, j] = [Math.floor(pair / seqlenK), pair % seqlenK]
    const [i, head] = [row % seqlenQ, Math.floor(row / seqlenQ)]
    const [b, h] = [Math.floor(head / nHeads), head % nHeads]
    const at =
      lies === 'queries'
        ? ((b * seqlenQ + i) * nHeads + h) * seqlenK + j
        : ((b * seqlenK + j) * nHeadsK + Math.floor(h / groupSize)) * seqlenQ + i
    const bits = Math.round((data[at] as number) * seqlenK * (1 - dropoutP))
    return lies === 'queries' ? bits : (bits >> (h % groupSize)) & 1
  }
}

/** Element of [B, S, H, D]: row s of every head is the unit vector e_s. */
const identity = (seqlen: number, nHeads: number, headDim: number) => (at: number) =>
  Math.floor(at / (nHeads * headDim)) % seqlen === at % headDim ? 1 : 0

/** Element of [B, S, Hq, D]: 2^g in query head g of its group. */
const groupBit =
  ({ nHeads, nHeadsK }: MaskCase, headDim: number) =>
  (at: number) =>
    2 ** ((Math.floor(at / headDim) % nHeads) % (nHeads / nHeadsK))

/** With v the identity, out holds the probabilities. */
function maskedOut(kernels: Kernels, make: Make, { batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, dropoutP, seed }: MaskCase): Masked {
  const k = make([batchSize, seqlenK, nHeadsK, 8])
  const v = make([batchSize, seqlenK, nHeadsK, seqlenK], identity(seqlenK, nHeadsK, seqlenK))
  const { out, lse } = kernels.attentionForward(make([batchSize, seqlenQ, nHeads, 8]), k, v, { dropoutP, seed })
  return { result: out, others: [lse], lies: 'queries' }
}

/** With dout the identity, dV holds them transposed. */
function maskedDv(kernels: Kernels, make: Make, of: MaskCase): Masked {
  const { batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, dropoutP, seed } = of
  const unit = identity(seqlenQ, nHeads, seqlenQ)
  const bit = groupBit(of, seqlenQ)
  const shape = [batchSize, seqlenQ, nHeads, seqlenQ]
  const { dq, dk, dv } = kernels.attentionBackward(
    make(shape, (at) => unit(at) * bit(at)),
    make([batchSize, seqlenQ, nHeads, 8]),
    make([batchSize, seqlenK, nHeadsK, 8]),
    make([batchSize, seqlenK, nHeadsK, seqlenQ]),
    make(shape),
    make([batchSize, nHeads, seqlenQ], () => Math.log(seqlenK)),
    { dropoutP, seed },
  )
  return { result: dv, others: [dq, dk], lies: 'keys' }
}

/** With v and dout of ones and out 0, dS holds them; with k the identity and q 0, so does dQ. */
function maskedDq(kernels: Kernels, make: Make, of: MaskCase): Masked {
  const { batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, dropoutP, seed } = of
  const { dq, dk, dv } = kernels.attentionBackward(
    make([batchSize, seqlenQ, nHeads, 1], () => 1),
    make([batchSize, seqlenQ, nHeads, seqlenK]),
    make([batchSize, seqlenK, nHeadsK, seqlenK], identity(seqlenK, nHeadsK, seqlenK)),
    make([batchSize, seqlenK, nHeadsK, 1], () => 1),
    make([batchSize, seqlenQ, nHeads, 1]),
    make([batchSize, nHeads, seqlenQ], () => Math.log(seqlenK)),
    { dropoutP, seed, softmaxScale: 1 },
  )
  return { result: dq, others: [dk, dv], lies: 'queries' }
}

/** With q the identity and k 0, dK holds them transposed. */
function maskedDk(kernels: Kernels, make: Make, of: MaskCase): Masked {
  const { batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, dropoutP, seed } = of
  const { dq, dk, dv } = kernels.attentionBackward(
    make([batchSize, seqlenQ, nHeads, 1], groupBit(of, 1)),
    make([batchSize, seqlenQ, nHeads, seqlenQ], identity(seqlenQ, nHeads, seqlenQ)),
    make([batchSize, seqlenK, nHeadsK, seqlenQ]),
    make([batchSize, seqlenK, nHeadsK, 1], () => 1),
    make([batchSize, seqlenQ, nHeads, 1]),
    make([batchSize, nHeads, seqlenQ], () => Math.log(seqlenK)),
    { dropoutP, seed, softmaxScale: 1 },
  )
  return { result: dk, others: [dq, dv], lies: 'keys' }
}
