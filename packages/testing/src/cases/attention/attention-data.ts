import type { AttentionBackwardOptions } from '@tilegrad/tensor'
import type { Layout } from '../../host-tensor'
import type { RandomMask } from '../../random-mask'

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
  readonly options: Omit<
    AttentionBackwardOptions,
    'alibiSlopes' | 'bias' | 'sink' | 'cuSeqlensQ' | 'cuSeqlensK' | 'blockMask' | 'probabilities'
  >
  readonly alibi?: AlibiCase
  readonly bias?: BiasCase
  /** Sinks that heads take turns with. */
  readonly sink?: readonly number[]
  readonly mask?: RandomMask
  /** The forward pass is asked for probabilities, and the backward pass gets what it returned. */
  readonly saveProbabilities?: true
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

export function attentionCase(overrides: Partial<AttentionCase>): AttentionCase {
  return { ...BASE, ...overrides, headDimV: overrides.headDimV ?? overrides.headDim ?? BASE.headDimV }
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
