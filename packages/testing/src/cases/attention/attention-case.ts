import type { AttentionBackwardOptions, Backend, BlockMask, Tensor } from '@tilegrad/tensor'
import { type HostTensor, host, type Layout } from '../../host-tensor'
import { type KernelCase, kernelCase, magnitudes, type Outputs, orDispose } from '../../kernel-case'
import type { Random } from '../../random'
import { type RandomMask, randomMask } from '../../random-mask'
import { softmaxTerms } from '../../tolerance'
import { bruteForceAttention } from './brute-force'

/** Sizes and options of one attention case, forward and backward. All of it is plain data, so that it names the case. */
export interface AttentionCase {
  readonly batchSize: number
  readonly seqlenQ: number
  readonly seqlenK: number
  /** Lengths of a packed batch; batchSize, seqlenQ and seqlenK above then mean nothing. */
  readonly sequences?: readonly (readonly [seqlenQ: number, seqlenK: number])[]
  readonly nHeads: number
  readonly nHeadsK: number
  readonly headDim: number
  readonly headDimV: number
  readonly layout: Layout
  /** Standard deviation of q; scores are this times 1 at the default softmaxScale. */
  readonly logits: number
  /** Scores grow or fall a hundredfold along the keys, so that the row maximum rises from tile to tile, in whichever order tiles are visited. */
  readonly keys?: 'rising' | 'falling'
  /** Options that are plain numbers. */
  readonly options: Omit<AttentionBackwardOptions, 'alibiSlopes' | 'bias' | 'sink' | 'cuSeqlensQ' | 'cuSeqlensK' | 'blockMask'>
  readonly alibi?: AlibiCase
  readonly bias?: BiasCase
  /** Sinks that heads take turns with. */
  readonly sink?: readonly number[]
  readonly mask?: RandomMask
}

export interface AlibiCase {
  /** A slope for each head, or for each batch entry and head. */
  readonly axes: 'H' | 'BH'
  /** Slopes that heads take turns with. */
  readonly slopes: readonly number[]
  readonly layout?: Layout
}

export interface BiasCase {
  /** A letter per axis: `B`, `H`, `Q` (seqlenQ), `K` (seqlenK) or `1`; `''` is a scalar. */
  readonly axes: string
  readonly layout?: Layout
  /** Standard deviation. Default 1. */
  readonly scale?: number
  /** Share of elements that are −∞, or `'rows'`: every third along the axis of queries. Default 0. */
  readonly hidden?: number | 'rows'
}

const BASE: AttentionCase = {
  batchSize: 1,
  seqlenQ: 113,
  seqlenK: 203,
  nHeads: 2,
  nHeadsK: 2,
  headDim: 64,
  headDimV: 64,
  layout: 'contiguous',
  logits: 1,
  options: {},
}

type InputName = 'q' | 'k' | 'v' | 'dout' | LearnableName
type LearnableName = 'alibiSlopes' | 'bias' | 'sink'

/** Tensors of a case; the learnable ones where it has them. */
export type AttentionInputs<T> = Readonly<Record<'q' | 'k' | 'v' | 'dout', T>> & Partial<Readonly<Record<LearnableName, T>>>

export function attentionCase(overrides: Partial<AttentionCase>): AttentionCase {
  return { ...BASE, ...overrides, headDimV: overrides.headDimV ?? overrides.headDim ?? BASE.headDimV }
}

/** out, lse and every gradient of a case. */
export function attention(overrides: Partial<AttentionCase>, group = 'attention'): KernelCase {
  const of = attentionCase(overrides)
  return kernelCase<InputName>(
    group,
    describeCase(of),
    (random) => attentionInputs(of, random) as Record<InputName, HostTensor>,
    (backend, inputs) => forwardAndBackward(backend, inputs, of),
    (backend, inputs, naiveError) => attentionTerms(backend, inputs, of, naiveError('lse')),
  )
}

function forwardAndBackward({ kernels }: Backend, inputs: AttentionInputs<Tensor>, of: AttentionCase): Outputs {
  const { q, k, v, dout } = inputs
  const { optionGradients, ...options } = optionsOf(of, inputs)
  const { out, lse } = kernels.attentionForward(q, k, v, options)
  const gradient = orDispose([out, lse], () => kernels.attentionBackward(dout, q, k, v, out, lse, optionsOf(of, inputs)))
  return { forward: { out, lse }, gradient: { ...gradient } }
}

/** Lengths of a case, equal or not. */
export function lengthsOf({ batchSize, seqlenQ, seqlenK, sequences }: AttentionCase) {
  const lengths = sequences ?? Array.from({ length: batchSize }, () => [seqlenQ, seqlenK] as const)
  const cuSeqlensQ = offsets(lengths.map(([length]) => length))
  const cuSeqlensK = offsets(lengths.map(([, length]) => length))
  return {
    batchSize: lengths.length,
    seqlenQ: Math.max(sequences ? 0 : seqlenQ, ...lengths.map(([length]) => length)),
    seqlenK: Math.max(sequences ? 0 : seqlenK, ...lengths.map(([, length]) => length)),
    cuSeqlensQ,
    cuSeqlensK,
    totalQ: cuSeqlensQ.at(-1) as number,
    totalK: cuSeqlensK.at(-1) as number,
  }
}

function offsets(lengths: readonly number[]): Int32Array {
  const sums = Int32Array.of(0, ...lengths)
  for (let b = 1; b < sums.length; b++) sums[b] = (sums[b] as number) + (sums[b - 1] as number)
  return sums
}

export function biasShape({ axes }: BiasCase, of: AttentionCase): number[] {
  const sizes: Record<string, number> = { B: of.batchSize, H: of.nHeads, Q: of.seqlenQ, K: of.seqlenK, 1: 1 }
  return [...axes].map((axis) => sizes[axis] as number)
}

/** Seeded elements of every tensor of a case. */
export function attentionInputs(of: AttentionCase, random: Random): AttentionInputs<HostTensor> {
  const { nHeads, nHeadsK, headDim, headDimV, layout, logits, sequences, alibi, bias, sink } = of
  const { batchSize, seqlenQ, seqlenK, totalQ, totalK } = lengthsOf(of)
  const rowsQ = sequences ? [totalQ] : [batchSize, seqlenQ]
  const rowsK = sequences ? [totalK] : [batchSize, seqlenK]
  const make = (shape: readonly number[], scale = 1) => {
    const length = shape.reduce((a, b) => a * b, 1)
    return host(shape, random.normals(length, scale), { layout })
  }
  return {
    q: make([...rowsQ, nHeads, headDim], logits),
    k: alongKeys(make([...rowsK, nHeadsK, headDim]), of.keys),
    v: make([...rowsK, nHeadsK, headDimV]),
    dout: make([...rowsQ, nHeads, headDimV]),
    ...(alibi && { alibiSlopes: alibiInput(alibi, batchSize, nHeads) }),
    ...(bias && { bias: biasInput(bias, of, random) }),
    ...(sink && { sink: host([nHeads], turns(sink, nHeads), { type: 'f32' }) }),
  }
}

function alongKeys(k: HostTensor, keys: AttentionCase['keys']): HostTensor {
  if (!keys) return k
  const scale = (at: number) => (keys === 'rising' ? at : k.data.length - at) / k.data.length
  return { ...k, data: Float32Array.from(k.data, (value, at) => value * 10 ** (2 * scale(at) - 1)) }
}

function turns(values: readonly number[], length: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => values[i % values.length] as number)
}

function alibiInput({ axes, slopes, layout = 'contiguous' }: AlibiCase, batchSize: number, nHeads: number): HostTensor {
  const shape = axes === 'H' ? [nHeads] : [batchSize, nHeads]
  return host(shape, turns(slopes, axes === 'H' ? nHeads : batchSize * nHeads), { type: 'f32', layout })
}

function biasInput(bias: BiasCase, of: AttentionCase, random: Random): HostTensor {
  const { axes, layout = 'contiguous', scale = 1, hidden = 0 } = bias
  const shape = biasShape(bias, of)
  const length = shape.reduce((a, b) => a * b, 1)
  const values = random.normals(length, scale)
  const perRow = axes.endsWith('K') ? of.seqlenK : 1
  for (let at = 0; at < length; at++) {
    const hide = hidden === 'rows' ? (Math.floor(at / perRow) % of.seqlenQ) % 3 === 0 : random.uniform() < hidden
    if (hide) values[at] = Number.NEGATIVE_INFINITY
  }
  return host(shape, values, { type: 'f32', layout })
}

/** A case's options for a kernel call, with tensors of the backend at hand. */
export function optionsOf(of: AttentionCase, { alibiSlopes, bias, sink }: AttentionInputs<Tensor>): AttentionBackwardOptions {
  const { cuSeqlensQ, cuSeqlensK } = lengthsOf(of)
  return {
    ...of.options,
    ...(alibiSlopes && { alibiSlopes }),
    ...(bias && { bias }),
    ...(sink && { sink }),
    ...(of.sequences && { cuSeqlensQ, cuSeqlensK }),
    ...(of.mask && { blockMask: maskOf(of) }),
  }
}

/** One mask per case, which every backend and every call gets. */
const masks = new WeakMap<AttentionCase, BlockMask>()

function maskOf(of: AttentionCase): BlockMask {
  const { batchSize, seqlenQ, seqlenK } = lengthsOf(of)
  const mask = masks.get(of) ?? randomMask(of.mask as RandomMask, batchSize, of.nHeads, seqlenQ, seqlenK)
  masks.set(of, mask)
  return mask
}

/**
 * Gradients with delta left out have the terms of dP − delta that cancel in them; and every result depends on p = exp(score − lse).
 * Gradients of alibiSlopes, bias and sink are sums of many terms of both signs into few numbers: their terms are summed by magnitude.
 */
async function attentionTerms(
  { kernels }: Backend,
  inputs: AttentionInputs<Tensor>,
  of: AttentionCase,
  naiveErrorOfLse: number,
): Promise<Record<string, number>> {
  const { q, k, v, dout } = inputs
  const { optionGradients, ...options } = optionsOf(of, inputs)
  const { out, lse } = kernels.attentionForward(q, k, v, options)
  const noOut = kernels.scale(out, 0)
  const { dq, dk, dv } = kernels.attentionBackward(dout, q, k, v, noOut, lse, { ...options, optionGradients: [] })
  const tensors = { out, lse, dq, dk, dv }
  const sizes = await magnitudes(tensors)
  for (const tensor of [...Object.values(tensors), noOut]) tensor.dispose()
  const probability = (magnitude: number) => softmaxTerms(magnitude, sizes.lse, naiveErrorOfLse)
  const learnable = of.alibi || of.bias || of.sink ? await learnableTerms(inputs, of) : {}
  return {
    out: probability(sizes.out),
    dv: probability(sizes.dv),
    ...Object.fromEntries(
      Object.entries({ dq: sizes.dq, dk: sizes.dk, ...learnable }).map(([name, terms]) => [name, terms + probability(terms)]),
    ),
  }
}

async function learnableTerms(inputs: AttentionInputs<Tensor>, of: AttentionCase): Promise<Record<string, number>> {
  const entries = Object.entries<Tensor>(inputs).map(async ([name, tensor]) => [name, await tensor.read()] as const)
  return bruteForceAttention(of, Object.fromEntries(await Promise.all(entries)) as never).terms
}

export function describeCase(of: AttentionCase): string {
  const { batchSize, seqlenQ, seqlenK, sequences, nHeads, nHeadsK, headDim, headDimV, layout, logits, options, ...tensors } = of
  const heads = nHeads === nHeadsK ? `${nHeads}` : `${nHeads}/${nHeadsK}`
  const lengths = sequences ? `varlen ${sequences.map((pair) => pair.join('×')).join(' ')}` : `B ${batchSize} Sq ${seqlenQ} Sk ${seqlenK}`
  const parts = [
    `${lengths} H ${heads} D ${headDim}${headDimV === headDim ? '' : `/${headDimV}`}`,
    layout === 'contiguous' ? '' : layout,
    logits === 1 ? '' : `logits × ${logits}`,
    Object.keys(options).length > 0 ? JSON.stringify(options) : '',
    ...Object.entries(tensors).map(([name, value]) => (value === undefined ? '' : `${name} ${JSON.stringify(value)}`)),
  ]
  return parts.filter(Boolean).join(' ')
}
