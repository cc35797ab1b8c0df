import type { AttentionOptions } from '@tilegrad/tensor'
import type { KernelCase } from '../../kernel-case'
import type { Sizes } from '../sizes'
import { attention } from './attention-case'
import type { AttentionCase, BiasCase } from './attention-data'

const AT = { seqlenQ: 70, seqlenK: 133, nHeads: 4, nHeadsK: 2, headDim: 32 } as const
const MASKS: readonly AttentionOptions[] = [
  {},
  { causal: true },
  { causal: true, causalAlign: 'top-left' },
  { windowSize: [30, 5] },
  { causal: true, softcap: 3 },
]

/** −slope·|i + seqlenK − seqlenQ − j|, and the gradient of the slopes. */
export function alibiCases(sizes: Sizes): KernelCase[] {
  const alibi = (overrides: Partial<AttentionCase>) =>
    attention({ ...AT, alibi: { axes: 'H', slopes: [0.5, 0.25, 0.125, 0.0625] }, ...overrides }, 'attention ALiBi')
  return [
    ...MASKS.map((options) => alibi({ options })),
    // More queries than keys: the distance is 0 before the first key, and bottom-right rows are empty.
    ...MASKS.map((options) =>
      alibi({ options, batchSize: 2, seqlenQ: 133, seqlenK: 70, alibi: { axes: 'BH', slopes: [0.3, -0.02, 0.01] } }),
    ),
    alibi({ batchSize: 3, alibi: { axes: 'BH', slopes: [1, 0, 0.2, 0.03, -0.1] } }),
    alibi({ batchSize: 2, alibi: { axes: 'BH', slopes: [0.7, 0.1, 0.04], layout: 'padded' }, layout: 'packed', seqlenK: 70 }),
    alibi({ alibi: { axes: 'H', slopes: [0] } }),
    // Negative slopes favour far keys.
    alibi({ alibi: { axes: 'H', slopes: [-0.5, -0.01] } }),
    // One key takes all, and exp of the others underflows.
    alibi({ alibi: { axes: 'H', slopes: [8, 100] } }),
    alibi({ alibi: { axes: 'H', slopes: [1e4, -1e4] } }),
    alibi({ seqlenQ: 1, seqlenK: 300, nHeadsK: 4 }),
    alibi({ seqlenQ: 3, seqlenK: sizes === 'full' ? 4096 : 1024, nHeads: 2, nHeadsK: 1, options: { causal: true } }),
    alibi({ seqlenK: 700, nHeads: 2, nHeadsK: 1, keys: 'rising' }),
    alibi({ batchSize: 2, seqlenK: 530, nHeadsK: 4, options: { causal: true } }),
    alibi({ headDim: 40, headDimV: 17 }),
    alibi({ seqlenQ: 5, seqlenK: 0 }),
    alibi({ options: { optionGradients: [] } }),
  ]
}

/** + bias in every shape that is broadcast to [B, H, Sq, Sk], −∞ among it, and its gradient, summed where it was broadcast. */
export function biasCases(sizes: Sizes): KernelCase[] {
  const bias = (given: BiasCase, overrides: Partial<AttentionCase> = {}) =>
    attention({ ...AT, batchSize: 2, seqlenQ: 37, ...overrides, bias: given }, 'attention bias')
  const axes = [
    'BHQK',
    '1HQK',
    'B1QK',
    'BHQ1',
    'BH1K',
    '11QK',
    'B11K',
    '111K',
    '1H1K',
    '1H11',
    'BH11',
    '1111',
    'HQK',
    'H11',
    'QK',
    'Q1',
    'K',
    '1',
    '',
  ]
  const chosen = sizes === 'full' ? axes : axes.filter((_, i) => i % 3 === 0)
  return [
    bias({ axes: '1HQK' }, { seqlenK: 530, nHeadsK: 4 }),
    ...chosen.map((shape, i) => bias({ axes: shape }, { options: MASKS[i % MASKS.length] as AttentionOptions })),
    // Masks by −∞: single pairs, whole keys (padding), and rows that then see no key.
    bias({ axes: 'BHQK', hidden: 0.5 }),
    bias({ axes: 'B11K', hidden: 0.3 }),
    bias({ axes: '11QK', hidden: 'rows' }),
    bias({ axes: 'BHQK', hidden: 'rows' }, { options: { causal: true } }),
    bias({ axes: '11Q1', hidden: 'rows' }),
    bias({ axes: '111K', hidden: 1 }),
    bias({ axes: '1', hidden: 1 }),
    bias({ axes: 'QK', hidden: 0.9 }, { options: { causal: true, windowSize: [20, -1] } }),
    // Views: a slice, and axes stored in another order.
    bias({ axes: 'BHQK', layout: 'padded' }),
    bias({ axes: 'BHQK', layout: 'permuted' }, { layout: 'permuted' }),
    bias({ axes: 'QK', layout: 'padded', hidden: 0.2 }),
    bias({ axes: 'K', layout: 'padded' }),
    bias({ axes: 'B11K', layout: 'padded' }, { layout: 'packed', seqlenK: 37, nHeadsK: 4 }),
    // Large: without bias these pairs would not matter.
    bias({ axes: 'BHQK', scale: 60 }),
    bias({ axes: '1HQK', scale: 20 }, { options: { softcap: 2, causal: true } }),
    bias({ axes: 'BHQK' }, { batchSize: 1, seqlenQ: 133, seqlenK: 70, options: { causal: true } }),
    bias({ axes: '1HQK' }, { seqlenQ: 1, seqlenK: 300 }),
    bias({ axes: '111K' }, { batchSize: 1, seqlenQ: 3, seqlenK: sizes === 'full' ? 4096 : 1024, nHeads: 2, nHeadsK: 1 }),
    bias({ axes: 'BHQK', hidden: 0.5 }, { batchSize: 1, seqlenK: 700, nHeads: 2, nHeadsK: 1, keys: 'falling' }),
    bias({ axes: 'HQK' }, { headDim: 17, headDimV: 40, nHeads: 3, nHeadsK: 1 }),
    bias({ axes: 'BHQK' }, { seqlenK: 0 }),
    bias({ axes: '11QK' }, { options: { optionGradients: [] } }),
    bias({ axes: 'BHQK', hidden: 0.1 }, { logits: 60 }),
  ]
}

/** A score per head that joins the denominator, and its gradient. */
export function sinkCases(sizes: Sizes): KernelCase[] {
  const sink = (overrides: Partial<AttentionCase>) => attention({ ...AT, sink: [1, -2, 0, 4], ...overrides }, 'attention sink')
  return [
    ...MASKS.map((options) => sink({ options })),
    sink({ sink: [0] }),
    // It takes nearly all, or nothing that float32 can tell.
    sink({ sink: [12, 30] }),
    sink({ sink: [-30, -200] }),
    sink({ sink: [1e4, -1e4] }),
    sink({ logits: 60, sink: [100, -100, 20, 3] }),
    // Rows without a key: lse = sink, out 0.
    sink({ batchSize: 2, seqlenQ: 133, seqlenK: 70, options: { causal: true } }),
    sink({ seqlenQ: 133, seqlenK: 20, options: { windowSize: [5, 5] }, sink: [-3, 200] }),
    sink({ seqlenK: 0 }),
    sink({ seqlenQ: 0 }),
    sink({ batchSize: 3, nHeads: 6, nHeadsK: 6, layout: 'packed', seqlenK: 70 }),
    // Few queries and many keys, which backends split and merge: the sink counts once.
    sink({ seqlenQ: 1, seqlenK: sizes === 'full' ? 8192 : 2048, nHeads: 2, nHeadsK: 1, sink: [6, 8] }),
    sink({ seqlenQ: 3, seqlenK: 2000, nHeads: 2, nHeadsK: 1, sink: [6, 8], options: { windowSize: [700, 0] } }),
    sink({ seqlenK: 700, nHeads: 2, nHeadsK: 1, keys: 'rising' }),
    sink({ headDim: 111, headDimV: 64 }),
    sink({ options: { optionGradients: [] } }),
  ]
}
