import type { KernelCase } from '../../kernel-case'
import type { RandomMask } from '../../random-mask'
import type { Sizes } from '../sizes'
import { attention } from './attention-case'
import type { AttentionCase } from './attention-data'

const BLOCKS = [
  [64, 64],
  [128, 64],
  [64, 128],
  [128, 128],
  [192, 64],
  [64, 192],
] as const

/** Lists of full, partial and absent tiles: all shapes of tiles, lengths that are no multiples of them, and masks for each batch entry and head. */
export function blockMaskCases(sizes: Sizes): KernelCase[] {
  const full = sizes === 'full'
  const at = full ? { seqlenQ: 300, seqlenK: 390 } : { seqlenQ: 130, seqlenK: 200 }
  const masked = (mask: Partial<RandomMask>, overrides: Partial<AttentionCase> = {}) =>
    attention(
      {
        ...at,
        nHeads: 2,
        nHeadsK: 1,
        headDim: 32,
        ...overrides,
        mask: { seed: 1, blockM: 64, blockN: 64, full: 0.3, partial: 0.4, ...mask },
      },
      'attention block mask',
    )
  return [
    ...BLOCKS.slice(0, full ? 6 : 3).map(([blockM, blockN], i) => masked({ seed: 10 + i, blockM, blockN })),
    ...BLOCKS.slice(0, full ? 6 : 3).map(([blockM, blockN], i) =>
      masked(
        { seed: 20 + i, blockM, blockN, full: 0, partial: 0.6, perHead: true },
        { batchSize: 2, nHeads: 4, nHeadsK: 2, seqlenQ: 200, seqlenK: 129 },
      ),
    ),
    // Everything, nothing, full tiles alone, few tiles (rows and columns of tiles without any).
    masked({ full: 1, partial: 0 }),
    masked({ full: 0, partial: 0 }),
    masked({ full: 0.5, partial: 0 }),
    masked({ full: 0, partial: 1 }),
    masked({ seed: 3, full: 0.08, partial: 0.08 }),
    masked({ seed: 4, perBatch: true }, { batchSize: 3 }),
    masked({ seed: 5, perBatch: true, perHead: true }, { batchSize: 2, nHeads: 3, nHeadsK: 3, layout: 'packed', seqlenK: at.seqlenQ }),
    // And causality and windows, which cut through its tiles.
    masked({ seed: 6 }, { options: { causal: true } }),
    masked({ seed: 6, blockM: 128 }, { options: { causal: true, causalAlign: 'top-left' } }),
    masked({ seed: 6, blockN: 128 }, { options: { windowSize: [70, 9] } }),
    masked({ seed: 7, full: 0.6 }, { seqlenQ: at.seqlenK, seqlenK: at.seqlenQ, options: { causal: true, windowSize: [100, -1] } }),
    masked({ seed: 8 }, { headDim: 72, headDimV: 40, logits: 20, options: { softcap: 10 } }),
    masked({ seed: 12 }, { seqlenQ: 70, seqlenK: 800, keys: 'rising' }),
    // Lengths within one tile, of whole tiles, and of none.
    masked({ full: 0, partial: 1, kinds: 1 }, { seqlenQ: 1, seqlenK: 1 }),
    masked({ full: 0, partial: 1, kinds: 1 }, { seqlenQ: 128, seqlenK: 64 }),
    masked({}, { seqlenQ: 5, seqlenK: 0 }),
    masked({}, { seqlenQ: 0, seqlenK: 5 }),
    // Few queries and many keys.
    masked({ full: 0.2, partial: 0.2 }, { seqlenQ: 1, seqlenK: full ? 4096 : 1024 }),
    masked({ full: 0.2, partial: 0.2 }, { seqlenQ: 3, seqlenK: 1000, options: { causal: true } }),
    // Packed sequences count from their own start; the mask is as long as the longest, or longer.
    ...[{}, { seqlenQ: 400, seqlenK: 500 }].map((lengths) =>
      masked(
        { seed: 9, perBatch: true, perHead: true, full: 0.4, ...lengths },
        {
          sequences: [
            [100, 70],
            [0, 3],
            [65, 130],
            [129, 129],
          ],
          options: { causal: true },
        },
      ),
    ),
    masked({ seed: 11, blockM: 128, blockN: 192 }, { sequences: [130, 1, 64].map((length) => [length, length] as const) }),
  ]
}
