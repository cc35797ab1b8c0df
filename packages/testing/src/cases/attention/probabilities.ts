import type { Tensor } from '@tilegrad/tensor'
import { evaluate, type KernelCase, kernelCase, sameBits } from '../../kernel-case'
import { randomFor } from '../../random'
import type { ConformanceCase } from '../conformance-case'
import type { Sizes } from '../sizes'
import { type AttentionInputs, attention, attentionInputs, optionsOf } from './attention-case'
import { type AttentionCase, attentionCase, describeCase } from './attention-data'
import { pairOptions, pairsOf } from './pairs'

const GROUP = 'attention probabilities'

/**
 * A forward pass that is asked for probabilities, and a backward pass that gets what it returned. Each size is near a boundary of some backend's tiles; where a
 * backend judges by heads and head dims whether it returns them, and how wide its tiles are, there are cases of each kind.
 */
export function probabilitiesCases(sizes: Sizes): KernelCase[] {
  const full = sizes === 'full'
  const cases = [...sizeCases(full), ...headCases(full), ...optionCases(full), ...notReturnedCases(), ...emptyCases(), ...pairCases(sizes)]
  return cases.map((of) => attention({ ...of, saveProbabilities: true }, GROUP))
}

/** Asking for probabilities changes no bit of out and lse: what a checkpoint computes again, recording it, is what it computed at first. */
export function probabilitiesContractCases(): ConformanceCase[] {
  const lengths = [
    [1, 16],
    [9, 60],
    [16, 16],
    [20, 130],
    [33, 70],
    [256, 256],
  ] as const
  const cases = lengths.flatMap(([seqlenQ, seqlenK]) => [
    attentionCase({ seqlenQ, seqlenK }),
    attentionCase({ seqlenQ, seqlenK, nHeads: 8, nHeadsK: 2, sink: [1], options: { causal: true } }),
  ])
  return cases.map((of) => ({
    group: GROUP,
    name: `asked for change no bit of out and lse: ${describeCase(of)}`,
    run: async (backend) => {
      const [plain, asking] = [forwardCase(of, false), forwardCase(of, true)]
      const inputs = plain.inputs(randomFor(plain.name))
      sameBits(
        await evaluate(plain, backend, inputs, 'f32'),
        await evaluate(asking, backend, inputs, 'f32'),
        'a run asked for probabilities',
      )
    },
  }))
}

function forwardCase(of: AttentionCase, saveProbabilities: boolean): KernelCase {
  return kernelCase<'q' | 'k' | 'v'>(
    GROUP,
    describeCase(of),
    (random) => attentionInputs(of, random),
    ({ kernels }, inputs) => {
      const { q, k, v } = inputs
      const { optionGradients: _, ...options } = optionsOf(of, inputs as AttentionInputs<Tensor>)
      const { out, lse, probabilities } = kernels.attentionForward(q, k, v, { ...options, saveProbabilities })
      probabilities?.dispose()
      return { forward: { out, lse } }
    },
  )
}

/** Lengths of queries and of keys, in turns with few heads and many. */
function sizeCases(full: boolean): Partial<AttentionCase>[] {
  const lengths = full
    ? ([
        [7, 1],
        [1, 3],
        [16, 7],
        [9, 17],
        [300, 63],
        [64, 64],
        [17, 65],
        [65, 128],
        [239, 129],
        [7, 200],
        [64, 255],
        [300, 256],
        [1, 256],
        [17, 256],
      ] as const)
    : ([
        [7, 1],
        [16, 3],
        [9, 17],
        [65, 63],
        [17, 65],
        [64, 128],
        [7, 255],
        [65, 256],
      ] as const)
  return lengths.flatMap(([seqlenQ, seqlenK], i) => {
    const few = { seqlenQ, seqlenK, nHeads: 2, nHeadsK: 2, headDim: 40 }
    const many = { seqlenQ, seqlenK, nHeads: 8, nHeadsK: 8, headDim: 32 }
    return full ? [few, many] : i % 2 === 0 ? [few] : [many]
  })
}

/** Head dims that are wide, odd, unequal and 1; groupings, also of many heads over batch entries. */
function headCases(full: boolean): Partial<AttentionCase>[] {
  const [seqlenQ, seqlenK] = full ? [113, 203] : [37, 150]
  const at = { seqlenQ, seqlenK }
  const dims = [
    [1, 1],
    [3, 59],
    [128, 128],
    [111, 192],
    [256, 256],
    ...(full
      ? ([
          [64, 64],
          [72, 40],
          [192, 64],
          [1, 256],
          [17, 1],
          [160, 96],
        ] as const)
      : []),
  ] as const
  return [
    ...dims.map(([headDim, headDimV]) => ({ ...at, headDim, headDimV })),
    { seqlenQ: 9, seqlenK: 256, nHeads: 8, nHeadsK: 8, headDim: 64 },
    { seqlenQ: 9, seqlenK: 256, nHeads: 8, nHeadsK: 8, headDim: 144 },
    { ...at, batchSize: 2, nHeads: 8, nHeadsK: 4, headDim: 32, headDimV: 48 },
    { ...at, batchSize: 3, nHeads: 6, nHeadsK: 1, headDim: 40 },
    ...(full
      ? [
          { ...at, nHeads: 16, nHeadsK: 8, headDim: 128, headDimV: 64 },
          { ...at, batchSize: 8, nHeads: 2, nHeadsK: 1, headDim: 64 },
        ]
      : []),
  ]
}

/** Each option, with few heads and many: in turns, and in the full suite each with both. */
function optionCases(full: boolean): Partial<AttentionCase>[] {
  const at = { seqlenQ: full ? 113 : 37, seqlenK: full ? 203 : 150 }
  const mask = { seed: 1, blockM: 64, blockN: 64, full: 0.3, partial: 0.4 }
  const options: Partial<AttentionCase>[] = [
    { options: { causal: true } },
    // Rows and whole blocks of rows that see nothing, and keys that nobody sees.
    { seqlenQ: 100, seqlenK: 70, options: { causal: true } },
    { seqlenQ: 37, seqlenK: 200, options: { causal: true, causalAlign: 'top-left' } },
    { options: { windowSize: [20, 9] } },
    { seqlenQ: 150, seqlenK: 40, options: { windowSize: [0, 0] } },
    { options: { softcap: 2 } },
    { alibi: { axes: 'BH', slopes: [0.3, -0.02, 0.01] } },
    { bias: { axes: 'BHQK', hidden: 0.3 } },
    { bias: { axes: '11QK', hidden: 'rows', layout: 'padded' } },
    { bias: { axes: '111K', hidden: 1 } },
    { sink: [1, -2, 0, 4] },
    { seqlenQ: 80, seqlenK: 60, sink: [2, -1], options: { causal: true } },
    { options: { dropoutP: 0.5, seed: 3 } },
    { sink: [1, -2], bias: { axes: '1HQK' }, options: { dropoutP: 0.1, seed: 2 ** 40 + 3 } },
    { mask },
    { seqlenQ: 200, mask: { ...mask, seed: 2, blockN: 128, perHead: true } },
    { layout: 'packed', seqlenK: at.seqlenQ },
    { logits: 60 },
    { keys: 'rising' },
    // Gradients that are not asked for.
    { bias: { axes: '1HQK' }, sink: [1], options: { optionGradients: ['sink'] } },
  ]
  return options.flatMap((of, i) => {
    const few = { ...at, nHeads: 4, nHeadsK: 2, headDim: 32, ...of }
    const many = { ...at, nHeads: 8, nHeadsK: 8, headDim: 32, ...of }
    return full ? [few, many] : i % 2 === 0 ? [few] : [many]
  })
}

/** More keys than may be kept, and packed sequences. */
function notReturnedCases(): Partial<AttentionCase>[] {
  return [
    { seqlenQ: 17, seqlenK: 257, nHeads: 8, nHeadsK: 8, headDim: 32 },
    { seqlenQ: 17, seqlenK: 257, nHeads: 2, nHeadsK: 1, headDim: 32, options: { causal: true } },
    {
      sequences: [
        [9, 17],
        [0, 3],
        [33, 65],
      ],
      nHeads: 2,
      nHeadsK: 1,
      headDim: 32,
    },
  ]
}

function emptyCases(): Partial<AttentionCase>[] {
  const at = { seqlenQ: 9, seqlenK: 17, headDim: 32 }
  return [
    { ...at, batchSize: 0 },
    { ...at, seqlenQ: 0 },
    { ...at, seqlenK: 0 },
    { ...at, seqlenK: 0, sink: [1], options: { causal: true } },
  ]
}

/** Every pair of values of two options, but for softcap, with which no probabilities are worth returning: its slope needs scores. */
function pairCases(sizes: Sizes): Partial<AttentionCase>[] {
  return pairsOf(`pairs of attention's options with probabilities, ${sizes}`, {
    ...pairOptions(sizes),
    softcap: [undefined],
    size:
      sizes === 'full'
        ? [
            [113, 203],
            [203, 113],
            [17, 256],
            [64, 129],
            [1, 65],
            [130, 3],
          ]
        : [
            [37, 70],
            [70, 37],
            [9, 130],
          ],
    lengths: ['one', 'two'],
    heads: [
      [4, 2],
      [8, 8],
    ],
    headDims: [
      [32, 32],
      [40, 17],
      [16, 72],
    ],
  })
}
