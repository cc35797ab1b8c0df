import type { AttentionOptions } from '@tilegrad/tensor'
import type { KernelCase } from '../../kernel-case'
import type { Sizes } from '../sizes'
import { attention } from './attention-case'
import type { AttentionCase } from './attention-data'

type Sequences = readonly (readonly [seqlenQ: number, seqlenK: number])[]

const MASKS: readonly AttentionOptions[] = [
  {},
  { causal: true },
  { causal: true, causalAlign: 'top-left' },
  { windowSize: [20, 7] },
  { causal: true, windowSize: [40, 3], softcap: 2 },
]

/** Sequences of several lengths in one call, packed without padding. */
export function varlenCases(sizes: Sizes): KernelCase[] {
  const varlen = (sequences: Sequences, overrides: Partial<AttentionCase> = {}) =>
    attention({ nHeads: 2, nHeadsK: 1, headDim: 32, sequences, ...overrides }, 'attention varlen')
  const mixed: Sequences = [
    [65, 65],
    [1, 130],
    [70, 33],
    [17, 64],
  ]
  const gaps: Sequences = [
    [0, 0],
    [5, 0],
    [31, 40],
    [0, 9],
    [33, 70],
    [0, 0],
  ]
  return [
    ...MASKS.flatMap((options) => [varlen(mixed, { options }), varlen(gaps, { options })]),
    // One sequence is what it is without cuSeqlens; many short ones share tiles.
    varlen([[113, 203]], { options: { causal: true } }),
    varlen(
      Array.from({ length: 40 }, (_, b) => [b % 4, (b * 3) % 5] as const),
      { options: { causal: true } },
    ),
    // Lengths of whole tiles, and one more and less.
    varlen(
      [64, 128, 63, 65, 1].map((length) => [length, length] as const),
      { options: { causal: true } },
    ),
    varlen(
      [
        [3, 5],
        [70, 500],
        [90, 333],
      ],
      { keys: 'falling', options: { causal: true } },
    ),
    varlen(
      [
        [65, 300],
        [33, 530],
        [70, 33],
      ],
      { nHeads: 4, nHeadsK: 2, options: { causal: true } },
    ),
    // Nothing at all: no sequences, and sequences without rows.
    varlen([]),
    varlen([
      [0, 0],
      [0, 0],
    ]),
    varlen([
      [7, 0],
      [2, 0],
    ]),
    varlen([
      [0, 7],
      [0, 2],
    ]),
    varlen(mixed, { layout: 'padded' }),
    varlen(mixed, { layout: 'permuted', nHeads: 6, nHeadsK: 3 }),
    varlen(
      [65, 3, 100].map((length) => [length, length] as const),
      { layout: 'packed', nHeads: 3, nHeadsK: 3, options: { causal: true } },
    ),
    varlen(mixed, { headDim: 40, headDimV: 72 }),
    varlen(mixed, { logits: 60 }),
    // Slopes of each sequence, and sinks where sequences have no keys.
    varlen(gaps, { alibi: { axes: 'BH', slopes: [0.5, 0.1, 0.03, 0.2, -0.02] }, options: { causal: true } }),
    varlen(mixed, { alibi: { axes: 'H', slopes: [0.25, 0.0625] } }),
    varlen(gaps, { sink: [1, -1] }),
    // Decoding: a row per sequence, against caches of several lengths.
    varlen(
      (sizes === 'full' ? [2000, 1, 700, 0, 64, 4097] : [500, 1, 200, 0]).map((length) => [1, length] as const),
      { options: { causal: true }, nHeads: 4, nHeadsK: 1 },
    ),
  ]
}
