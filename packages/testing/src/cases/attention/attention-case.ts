import {
  type AttentionBackwardOptions,
  type AttentionOptions,
  type Backend,
  type BlockMask,
  type Kernels,
  MAX_SAVED_KEYS,
  type Tensor,
} from '@tilegrad/tensor'
import { type HostTensor, host } from '../../host-tensor'
import { type KernelCase, kernelCase, magnitudes, type Outputs, orDispose } from '../../kernel-case'
import type { Random } from '../../random'
import { type RandomMask, randomMask } from '../../random-mask'
import { softmaxTerms } from '../../tolerance'
import { type AlibiCase, type AttentionCase, attentionCase, type BiasCase, biasShape, describeCase, lengthsOf } from './attention-data'
import { bruteForceAttention } from './brute-force'

type InputName = 'q' | 'k' | 'v' | 'dout' | LearnableName
type LearnableName = 'alibiSlopes' | 'bias' | 'sink'

/** Tensors of a case; the learnable ones where it has them. */
export type AttentionInputs<T> = Readonly<Record<'q' | 'k' | 'v' | 'dout', T>> & Partial<Readonly<Record<LearnableName, T>>>

/** out, lse, probabilities where they may be returned, and every gradient of a case. */
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
  const options = optionsOf(of, inputs)
  const { optionGradients, ...forwardOptions } = options
  const { saveProbabilities } = of
  const { out, lse, probabilities } = kernels.attentionForward(q, k, v, {
    ...forwardOptions,
    ...(saveProbabilities && { saveProbabilities }),
  })
  // Where they are asked for and may be returned, but are not, the same elements by another way: every backend has this output, or none, and takes it back.
  const rows = () => (maySave(of) ? allRows(kernels, inputs, lse, forwardOptions) : undefined)
  const saved = probabilities ?? orDispose([out, lse], rows)
  const given = saved && { probabilities: saved }
  const forward = { out, lse, ...given }
  const gradient = orDispose(Object.values(forward), () => kernels.attentionBackward(dout, q, k, v, out, lse, { ...options, ...given }))
  return { forward, gradient: { ...gradient } }
}

/** Whether a backend may return probabilities. */
function maySave(of: AttentionCase): boolean {
  return of.saveProbabilities === true && of.seqlenK <= MAX_SAVED_KEYS && of.sequences === undefined
}

/** Probabilities [B, Hq, Sq, Sk] of every row. */
function allRows(kernels: Kernels, { q, k }: AttentionInputs<Tensor>, lse: Tensor, options: AttentionOptions): Tensor {
  return kernels.attentionRows(q, k, lse, [...Array(q.shape[1]).keys()], options)
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
  const sums: Record<string, Tensor> = { out, dv, ...(maySave(of) && { probabilities: allRows(kernels, inputs, lse, options) }) }
  const [sumSizes, sizes] = [await magnitudes(sums), await magnitudes({ lse, dq, dk })]
  for (const tensor of [...Object.values(sums), lse, dq, dk, noOut]) tensor.dispose()
  const probability = (magnitude: number) => softmaxTerms(magnitude, sizes.lse, naiveErrorOfLse)
  const learnable = of.alibi || of.bias || of.sink ? await learnableTerms(inputs, of) : {}
  return Object.fromEntries([
    ...Object.entries(sumSizes).map(([name, size]) => [name, probability(size)]),
    ...Object.entries({ dq: sizes.dq, dk: sizes.dk, ...learnable }).map(([name, terms]) => [name, terms + probability(terms)]),
  ])
}

async function learnableTerms(inputs: AttentionInputs<Tensor>, of: AttentionCase): Promise<Record<string, number>> {
  const entries = Object.entries<Tensor>(inputs).map(async ([name, tensor]) => [name, await tensor.read()] as const)
  return bruteForceAttention(of, Object.fromEntries(await Promise.all(entries)) as never).terms
}
