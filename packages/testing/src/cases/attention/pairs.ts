import type { Layout } from '../../host-tensor'
import type { KernelCase } from '../../kernel-case'
import { pairwise } from '../../pairwise'
import type { Sizes } from '../sizes'
import { attention } from './attention-case'
import type { AttentionCase } from './attention-data'

/** The sizes and groupings that options meet. */
interface PairShapes {
  readonly size: readonly (readonly [seqlenQ: number, seqlenK: number])[]
  readonly lengths: readonly ('one' | 'two' | 'packed')[]
  readonly heads: readonly (readonly [nHeads: number, nHeadsK: number])[]
  readonly headDims: readonly (readonly [headDim: number, headDimV: number])[]
}

function pairShapes(sizes: Sizes): PairShapes {
  const some = someOf(sizes)
  return {
    size:
      sizes === 'full'
        ? [
            [113, 203],
            [203, 113],
            [128, 64],
            [65, 129],
            [1, 239],
            [239, 1],
            [17, 65],
            [130, 3],
            [64, 64],
            [7, 0],
          ]
        : [
            [37, 70],
            [70, 37],
            [65, 129],
            [1, 130],
          ],
    lengths: ['one', 'two', 'packed'],
    heads: some([
      [4, 2],
      [2, 2],
      [3, 1],
    ]),
    headDims: some([
      [32, 32],
      [40, 17],
      [64, 64],
      [16, 72],
    ]),
  }
}

/** Values of every option, and layouts. */
export function pairOptions(sizes: Sizes) {
  const some = someOf(sizes)
  return {
    layout: some<Layout>(['contiguous', 'padded', 'packed', 'permuted']),
    causal: ['no', 'bottom-right', 'top-left'] as const,
    windowSize: some([undefined, [37, 21], [0, -1], [-1, 5], [0, 0]] as const),
    softcap: [undefined, 2] as readonly (number | undefined)[],
    softmaxScale: [undefined, 0.3] as const,
    alibi: [undefined, 'H', 'BH'] as const,
    bias: some([
      undefined,
      { axes: 'BHQK', hidden: 0.2 },
      { axes: '111K' },
      { axes: '11QK', hidden: 'rows', layout: 'padded' },
      { axes: '1H1K' },
      { axes: 'B11K', hidden: 0.3 },
    ] as const),
    sink: [undefined, [1, -2, 4]] as const,
    dropout: some([undefined, { dropoutP: 0.1, seed: 1 }, { dropoutP: 0.5, seed: 2 ** 40 + 3 }] as const),
    mask: some([
      undefined,
      { seed: 1, blockM: 64, blockN: 64, full: 0.4, partial: 0.4 },
      { seed: 2, blockM: 128, blockN: 64, full: 0.3, partial: 0.5, perHead: true },
      { seed: 3, blockM: 64, blockN: 128, full: 0.3, partial: 0.5, perBatch: true, perHead: true },
    ] as const),
  }
}

/** In the small suite the first half of the values. */
function someOf(sizes: Sizes) {
  return <T>(values: readonly T[]): readonly T[] => (sizes === 'full' ? values : values.slice(0, Math.ceil(values.length / 2)))
}

type PairFactors = PairShapes & ReturnType<typeof pairOptions>
type PairRow = { readonly [Name in keyof PairFactors]: PairFactors[Name][number] }

/** The one pair of options that every backend refuses, by an ArgumentError (misuse.ts): sequences of several lengths share no [Sq, Sk]. */
function refused({ bias, lengths }: Partial<PairRow>): boolean {
  return bias !== undefined && lengths === 'packed'
}

/** Every pair of values of two options. */
export function pairCases(sizes: Sizes): KernelCase[] {
  return pairs(sizes).map((of) => attention(of, 'attention pairs'))
}

export function pairs(sizes: Sizes): Partial<AttentionCase>[] {
  return pairsOf(`pairs of attention's options, ${sizes}`, { ...pairShapes(sizes), ...pairOptions(sizes) })
}

/** Rows in which every pair of values of two factors occurs. */
export function pairsOf(name: string, factors: PairFactors): Partial<AttentionCase>[] {
  return pairwise(name, { ...factors }, refused).map(caseOf)
}

function caseOf(row: PairRow): Partial<AttentionCase> {
  const { size, lengths, heads, headDims, layout, causal, windowSize, softcap, softmaxScale, alibi, bias, sink, dropout, mask } = row
  const [seqlenQ, seqlenK] = size
  const sequences = [[seqlenQ, seqlenK] as const, [0, 9] as const, [Math.ceil(seqlenQ / 3), Math.ceil(seqlenK / 2)] as const]
  return {
    ...(lengths === 'packed' ? { sequences } : { batchSize: lengths === 'two' ? 2 : 1, seqlenQ, seqlenK }),
    nHeads: heads[0],
    nHeadsK: heads[1],
    headDim: headDims[0],
    headDimV: headDims[1],
    layout,
    options: {
      ...(causal !== 'no' && { causal: true, causalAlign: causal }),
      ...(windowSize && { windowSize }),
      ...(softcap && { softcap }),
      ...(softmaxScale && { softmaxScale }),
      ...dropout,
    },
    ...(alibi && { alibi: { axes: alibi, slopes: [0.25, -0.05, 0.01, 0.5, 0.1] } }),
    ...(bias && { bias }),
    ...(sink && { sink }),
    ...(mask && { mask }),
  }
}
