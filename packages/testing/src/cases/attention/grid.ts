import type { AttentionOptions } from '@tilegrad/tensor'
import fc from 'fast-check'
import type { Layout } from '../../host-tensor'
import type { KernelCase } from '../../kernel-case'
import type { Sizes } from '../sizes'
import { attention } from './attention-case'

// The grid of flash-attention's tests/test_flash_attn.py.
const HEAD_DIMS = [1, 32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 224, 256]
const SIZES: readonly (readonly [seqlenQ: number, seqlenK: number])[] = [
  [113, 203],
  [128, 217],
  [113, 211],
  [108, 256],
  [256, 512],
  [512, 256],
  [1024, 1024],
  [1023, 1024],
  [1024, 1023],
  [1, 239],
  [799, 3],
  [3, 1024],
  [0, 5],
  [5, 0],
  [0, 0],
  [1, 1],
]
const HEADS: readonly (readonly [nHeads: number, nHeadsK: number])[] = [
  [2, 2],
  [4, 2],
  [3, 1],
]
const MASKS: readonly AttentionOptions[] = [
  {},
  { causal: true },
  { causal: true, causalAlign: 'top-left' },
  { windowSize: [37, 21] },
  { windowSize: [0, 0] },
  { windowSize: [64, -1] },
  { causal: true, windowSize: [100, 5] },
  { softcap: 2 },
]

/** Sizes, head dims and groupings, masks, layouts and scales, which every backend has from its first day. */
export function gridCases(sizes: Sizes): KernelCase[] {
  const full = sizes === 'full'
  return [
    ...headDimCases(full),
    ...sizeCases(full),
    ...optionCases(),
    ...layoutCases(),
    ...emptyRowCases(),
    ...splitCases(full),
    ...manyTilesCases(),
    ...manyHeadsCases(),
    ...drawnCases(full ? 64 : 10),
  ]
}

/** Every head dim, causal and not, with the head groupings taking turns. */
function headDimCases(full: boolean): KernelCase[] {
  const dims = full ? HEAD_DIMS : [1, 40, 64, 111, 256]
  const [seqlenQ, seqlenK] = full ? [113, 203] : [37, 70]
  const equal = dims.flatMap((headDim, i) =>
    [false, true].map((causal, j) => {
      const [nHeads, nHeadsK] = HEADS[(i + j) % HEADS.length] as [number, number]
      return attention({ seqlenQ, seqlenK, nHeads, nHeadsK, headDim, options: { causal } })
    }),
  )
  const unequal = [
    [64, 128],
    [192, 128],
    [40, 1],
    [1, 59],
    [111, 256],
  ].map(([headDim, headDimV]) =>
    attention({ seqlenQ: 67, seqlenK: 91, headDim: headDim as number, headDimV: headDimV as number, options: { causal: true } }),
  )
  return [...equal, ...unequal]
}

/** Every pair of lengths under masks that take turns; the long ones under two, the others under four. */
function sizeCases(full: boolean): KernelCase[] {
  const list = full ? SIZES : SIZES.filter(([seqlenQ, seqlenK]) => seqlenQ * seqlenK < 30_000)
  return list.flatMap(([seqlenQ, seqlenK], i) => {
    const long = seqlenQ * seqlenK > 500_000
    const count = long ? 2 : full ? 4 : 2
    return Array.from({ length: count }, (_, j) => {
      const options = MASKS[(j * 3 + i + (long ? 1 : 0)) % MASKS.length] as AttentionOptions
      const [nHeads, nHeadsK] = long ? [1, 1] : (HEADS[i % HEADS.length] as [number, number])
      return attention({ seqlenQ, seqlenK, nHeads, nHeadsK, headDim: long ? 32 : 40, options })
    })
  })
}

/** Each option alone, at values that matter. */
function optionCases(): KernelCase[] {
  const at = { seqlenQ: 70, seqlenK: 133, nHeads: 2, nHeadsK: 1, headDim: 32 }
  const options: AttentionOptions[] = [
    ...MASKS,
    { causalAlign: 'top-left' },
    { windowSize: [-1, 0] },
    { windowSize: [0, -1] },
    { windowSize: [200, 200] },
    { softmaxScale: 1 },
    { softmaxScale: 0 },
    { softmaxScale: -0.25 },
    { softcap: 0.5 },
    { softcap: 30 },
    { softcap: 2, softmaxScale: 0.5, causal: true },
  ]
  return [
    ...options.map((option) => attention({ ...at, options: option })),
    // Masks again with more queries than keys, where bottom-right leaves rows empty and top-left does not.
    ...MASKS.map((option) => attention({ ...at, batchSize: 2, seqlenQ: 133, seqlenK: 70, options: option })),
    // exp of scores this large overflows unless the row's maximum is subtracted first.
    attention({ ...at, logits: 60 }),
    attention({ ...at, logits: 60, options: { causal: true } }),
    attention({ ...at, logits: 60, options: { softcap: 100 } }),
    attention({ ...at, options: { softmaxScale: 20 } }),
  ]
}

function layoutCases(): KernelCase[] {
  const at = { batchSize: 2, seqlenQ: 65, seqlenK: 65, nHeads: 3, nHeadsK: 3, headDim: 40, options: { causal: true } }
  const layouts: Layout[] = ['packed', 'permuted', 'padded']
  return [
    ...layouts.map((layout) => attention({ ...at, layout })),
    ...layouts.map((layout) => attention({ ...at, layout, headDim: 33, seqlenQ: 17, seqlenK: 97, nHeads: 4, nHeadsK: 2, options: {} })),
    attention({ ...at, layout: 'padded', headDim: 1, headDimV: 1 }),
  ]
}

/** Rows, tiles and whole inputs without a visible key: out 0, lse −∞, gradients 0. */
function emptyRowCases(): KernelCase[] {
  return [
    attention({ seqlenQ: 300, seqlenK: 20, headDim: 32, options: { causal: true } }),
    attention({ seqlenQ: 20, seqlenK: 300, headDim: 32, options: { causal: true, causalAlign: 'top-left', windowSize: [10, -1] } }),
    attention({ seqlenQ: 200, seqlenK: 70, headDim: 32, options: { windowSize: [5, 5] } }),
    attention({ seqlenQ: 7, seqlenK: 0, headDim: 32, headDimV: 16, nHeads: 4, nHeadsK: 2, options: { causal: true } }),
    attention({ batchSize: 0, seqlenQ: 4, seqlenK: 4, headDim: 32 }),
  ]
}

/** Few rows and many keys, which backends split over threads and merge. */
function splitCases(full: boolean): KernelCase[] {
  const seqlenK = full ? 8192 : 2048
  return [1, 3, 8].flatMap((seqlenQ) => [
    attention({ seqlenQ, seqlenK, nHeads: 1, nHeadsK: 1, headDim: 64, options: { causal: true } }),
    attention({ seqlenQ, seqlenK: seqlenK - 37, nHeads: 2, nHeadsK: 1, headDim: 40, options: { windowSize: [700, 0] } }),
  ])
}

/** More keys than any tile holds, whose scores rise or fall: what was summed so far is rescaled, by a lot. */
function manyTilesCases(): KernelCase[] {
  return (['rising', 'falling'] as const).flatMap((keys) => [
    attention({ seqlenQ: 70, seqlenK: 700, nHeads: 2, nHeadsK: 1, headDim: 32, keys }),
    attention({ seqlenQ: 300, seqlenK: 300, nHeads: 1, nHeadsK: 1, headDim: 40, keys, options: { causal: true } }),
    attention({ seqlenQ: 2, seqlenK: 1500, nHeads: 2, nHeadsK: 1, headDim: 32, keys }),
  ])
}

/** So many heads that backends can afford to take more keys at once, and more keys than that. */
function manyHeadsCases(): KernelCase[] {
  return [
    attention({ batchSize: 2, seqlenQ: 70, seqlenK: 300, nHeads: 4, nHeadsK: 2, headDim: 32 }),
    attention({ batchSize: 2, seqlenQ: 150, seqlenK: 530, nHeads: 4, nHeadsK: 4, headDim: 32, options: { causal: true } }),
    attention({ batchSize: 4, seqlenQ: 100, seqlenK: 270, nHeads: 2, nHeadsK: 2, headDim: 32, options: { windowSize: [90, 20] } }),
    attention({ seqlenQ: 65, seqlenK: 257, nHeads: 8, nHeadsK: 8, headDim: 128, options: { softcap: 2 } }),
  ]
}

/** Combinations of everything, drawn with a fixed seed. */
function drawnCases(count: number): KernelCase[] {
  const size = fc.constantFrom(1, 2, 15, 16, 17, 31, 48, 63, 64, 65, 100, 129, 160, 203)
  const side = fc.constantFrom(-1, 0, 1, 5, 17, 64, 130)
  const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
  const drawn = fc.record({
    batchSize: fc.constantFrom(1, 2),
    seqlenQ: size,
    seqlenK: size,
    heads: fc.constantFrom(...HEADS, [1, 1] as const, [6, 3] as const),
    headDim: fc.constantFrom(1, 3, 8, 16, 32, 59, 64, 72),
    headDimV: fc.constantFrom(1, 5, 8, 16, 32, 47, 64, 80),
    layout: fc.constantFrom<Layout>('contiguous', 'packed', 'permuted', 'padded'),
    causal: optional(fc.boolean()),
    causalAlign: optional(fc.constantFrom('bottom-right' as const, 'top-left' as const)),
    windowSize: optional(fc.tuple(side, side)),
    softcap: optional(fc.constantFrom(0.5, 3, 30)),
    softmaxScale: optional(fc.constantFrom(0.05, 0.3, 1)),
  })
  return fc.sample(drawn, { seed: 20220527, numRuns: count }).map(({ heads: [nHeads, nHeadsK], ...rest }) => {
    const { batchSize, seqlenQ, seqlenK, headDim, headDimV, layout, ...options } = rest
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as AttentionOptions
    return attention({ batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, headDim, headDimV, layout, options: given })
  })
}
