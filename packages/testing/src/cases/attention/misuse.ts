import type { AttentionBackwardOptions, AttentionForwardOptions, AttentionOptions, BlockMask, Kernels } from '@tilegrad/tensor'
import { randomMask } from '../../random-mask'
import type { Make, Misuse } from '../misuse'

const ints = (...values: number[]) => Int32Array.from(values)

/** B 2, Sq 2, Sk 3, H 2/1, D 8, Dv 4. */
const forward = (k: Kernels, t: Make, options: AttentionForwardOptions) =>
  k.attentionForward(t([2, 2, 2, 8]), t([2, 3, 1, 8]), t([2, 3, 1, 4]), options)
const backward = (k: Kernels, t: Make, options: AttentionBackwardOptions) =>
  k.attentionBackward(t([2, 2, 2, 4]), t([2, 2, 2, 8]), t([2, 3, 1, 8]), t([2, 3, 1, 4]), t([2, 2, 2, 4]), t([2, 2, 2]), options)
/** 5 query and 7 key rows, H 2/1, D 8, Dv 4. */
const packed = (k: Kernels, t: Make, options: AttentionOptions) => k.attentionForward(t([5, 2, 8]), t([7, 1, 8]), t([7, 1, 4]), options)
const packedBackward = (k: Kernels, t: Make, options: AttentionBackwardOptions) =>
  k.attentionBackward(t([5, 2, 4]), t([5, 2, 8]), t([7, 1, 8]), t([7, 1, 4]), t([5, 2, 4]), t([2, 5]), options)
const LENGTHS = { cuSeqlensQ: ints(0, 2, 5), cuSeqlensK: ints(0, 3, 7) }

/** 2 × 3 tiles of 64 × 64: full, partial; partial, full, and none in the last column. */
function mask(change: Partial<BlockMask> = {}): BlockMask {
  return {
    batchSize: 1,
    nHeads: 1,
    seqlenQ: 100,
    seqlenK: 150,
    blockM: 64,
    blockN: 64,
    kvOffsets: ints(0, 2, 4),
    kvBlocks: ints(0, 1, 0, 1),
    kvBits: ints(-1, 0, 0, -1),
    qOffsets: ints(0, 2, 4, 4),
    qBlocks: ints(0, 1, 0, 1),
    qBits: ints(-1, 0, 0, -1),
    bits: new Int32Array(128),
    ...change,
  }
}

const masked = (change: Partial<BlockMask>) => (k: Kernels, t: Make) =>
  k.attentionForward(t([1, 100, 2, 8]), t([1, 150, 1, 8]), t([1, 150, 1, 4]), { blockMask: mask(change) })

const inspected = (options: AttentionOptions) => [
  (k: Kernels, t: Make) => k.attentionRows(t([2, 2, 2, 8]), t([2, 3, 1, 8]), t([2, 2, 2]), [0], options),
  (k: Kernels, t: Make) => k.attentionColumnSums(t([2, 2, 2, 8]), t([2, 3, 1, 8]), t([2, 2, 2]), options),
  (k: Kernels, t: Make) => k.attentionTopK(t([2, 2, 2, 8]), t([2, 3, 1, 8]), t([2, 2, 2]), 1, options),
]

/** Wrong options of attention. */
export const ATTENTION_MISUSES: readonly Misuse[] = [
  ['ALiBi: slopes of 3 heads for 2', 'ShapeError', (k, t) => forward(k, t, { alibiSlopes: t([3]) })],
  ['ALiBi: slopes of 1 batch entry for 2', 'ShapeError', (k, t) => forward(k, t, { alibiSlopes: t([1, 2]) })],
  ['ALiBi: slopes of the batch instead of the sequences', 'ShapeError', (k, t) => packed(k, t, { ...LENGTHS, alibiSlopes: t([3, 2]) })],
  ['ALiBi: slopes in f16', 'DTypeError', (k, t) => forward(k, t, { alibiSlopes: t([2], 'f16') })],
  ['ALiBi: slopes as numbers', 'ArgumentError', (k, t) => forward(k, t, { alibiSlopes: [1, 2] as never })],
  ['bias: of another length', 'ShapeError', (k, t) => forward(k, t, { bias: t([1, 2, 2, 4]) })],
  ['bias: of key heads instead of query heads', 'ShapeError', (k, t) => forward(k, t, { bias: t([3, 1, 1]) })],
  ['bias: of five axes', 'ShapeError', (k, t) => forward(k, t, { bias: t([1, 1, 1, 1, 3]) })],
  ['bias: integers', 'DTypeError', (k, t) => forward(k, t, { bias: t([3], 'i32') })],
  [
    'bias: last axis not contiguous',
    'ShapeError',
    (k, t) => {
      const view = t([3, 2]).permute([1, 0])
      try {
        return forward(k, t, { bias: view })
      } finally {
        view.dispose()
      }
    },
  ],
  ['bias with cuSeqlens', 'ArgumentError', (k, t) => packed(k, t, { ...LENGTHS, bias: t([4]) })],
  ['bias with cuSeqlens, backward', 'ArgumentError', (k, t) => packedBackward(k, t, { ...LENGTHS, bias: t([4]) })],
  ['sink: of key heads', 'ShapeError', (k, t) => forward(k, t, { sink: t([1]) })],
  ['sink: of each batch entry', 'ShapeError', (k, t) => forward(k, t, { sink: t([2, 2]) })],
  ['sink: in f16', 'DTypeError', (k, t) => forward(k, t, { sink: t([2], 'f16') })],
  ['dropout without a seed', 'ArgumentError', (k, t) => forward(k, t, { dropoutP: 0.1 })],
  ['dropout without a seed, backward', 'ArgumentError', (k, t) => backward(k, t, { dropoutP: 0.1 })],
  ['dropout of everything', 'ArgumentError', (k, t) => forward(k, t, { dropoutP: 1, seed: 1 })],
  ['dropout below 0', 'ArgumentError', (k, t) => forward(k, t, { dropoutP: -0.1, seed: 1 })],
  ['dropout NaN', 'ArgumentError', (k, t) => forward(k, t, { dropoutP: Number.NaN, seed: 1 })],
  ['a fractional seed', 'ArgumentError', (k, t) => forward(k, t, { dropoutP: 0.1, seed: 1.5 })],
  ['a negative seed', 'ArgumentError', (k, t) => forward(k, t, { dropoutP: 0.1, seed: -1 })],
  ['a seed of 2^53', 'ArgumentError', (k, t) => forward(k, t, { dropoutP: 0.1, seed: 2 ** 53 })],
  ['a gradient of a bias that is not given', 'ArgumentError', (k, t) => backward(k, t, { optionGradients: ['bias'] })],
  ['a gradient of softcap', 'ArgumentError', (k, t) => backward(k, t, { softcap: 1, optionGradients: ['softcap' as never] })],
  ['optionGradients in the forward pass', 'ArgumentError', (k, t) => forward(k, t, { optionGradients: [] } as never)],

  ['saveProbabilities: a number', 'ArgumentError', (k, t) => forward(k, t, { saveProbabilities: 1 as never })],
  ['saveProbabilities in the backward pass', 'ArgumentError', (k, t) => backward(k, t, { saveProbabilities: true } as never)],
  ['probabilities in the forward pass', 'ArgumentError', (k, t) => forward(k, t, { probabilities: t([2, 2, 2, 3]) } as never)],
  ['probabilities: not a tensor', 'ArgumentError', (k, t) => backward(k, t, { probabilities: [1] as never })],
  ['probabilities: of another length', 'ShapeError', (k, t) => backward(k, t, { probabilities: t([2, 2, 2, 4]) })],
  ['probabilities: of key heads', 'ShapeError', (k, t) => backward(k, t, { probabilities: t([2, 1, 2, 3]) })],
  ['probabilities: in f16', 'DTypeError', (k, t) => backward(k, t, { probabilities: t([2, 2, 2, 3], 'f16') })],
  [
    'probabilities: a view that is not contiguous',
    'ShapeError',
    (k, t) => {
      const view = t([2, 2, 2, 4]).slice([0, 0, 0, 0], [2, 2, 2, 3])
      try {
        return backward(k, t, { probabilities: view })
      } finally {
        view.dispose()
      }
    },
  ],
  [
    'probabilities: disposed',
    'DisposedError',
    (k, t) => {
      const probabilities = t([2, 2, 2, 3])
      probabilities.dispose()
      return backward(k, t, { probabilities })
    },
  ],
  ['probabilities with cuSeqlens', 'ArgumentError', (k, t) => packedBackward(k, t, { ...LENGTHS, probabilities: t([2, 2, 3, 4]) })],

  ['cuSeqlensQ alone', 'ArgumentError', (k, t) => packed(k, t, { cuSeqlensQ: LENGTHS.cuSeqlensQ })],
  ['cuSeqlensK alone', 'ArgumentError', (k, t) => packed(k, t, { cuSeqlensK: LENGTHS.cuSeqlensK })],
  ['cuSeqlens as numbers', 'ArgumentError', (k, t) => packed(k, t, { ...LENGTHS, cuSeqlensQ: [0, 2, 5] as never })],
  ['cuSeqlens that descend', 'ArgumentError', (k, t) => packed(k, t, { cuSeqlensQ: ints(0, 4, 2, 5), cuSeqlensK: ints(0, 1, 3, 7) })],
  ['cuSeqlens that begin late', 'ArgumentError', (k, t) => packed(k, t, { ...LENGTHS, cuSeqlensQ: ints(1, 2, 5) })],
  ['cuSeqlens that end early', 'ArgumentError', (k, t) => packed(k, t, { ...LENGTHS, cuSeqlensK: ints(0, 3, 6) })],
  ['cuSeqlens that end past the rows', 'ArgumentError', (k, t) => packed(k, t, { ...LENGTHS, cuSeqlensK: ints(0, 3, 8) })],
  ['cuSeqlens of two batch sizes', 'ArgumentError', (k, t) => packed(k, t, { ...LENGTHS, cuSeqlensK: ints(0, 1, 3, 7) })],
  ['cuSeqlens without offsets', 'ArgumentError', (k, t) => packed(k, t, { cuSeqlensQ: ints(), cuSeqlensK: ints() })],
  ['cuSeqlens with tensors of four axes', 'ShapeError', (k, t) => forward(k, t, { cuSeqlensQ: ints(0, 4), cuSeqlensK: ints(0, 6) })],
  ['tensors of three axes without cuSeqlens', 'ShapeError', (k, t) => packed(k, t, {})],
  [
    'cuSeqlens with lse of a batch',
    'ShapeError',
    (k, t) => k.attentionBackward(t([5, 2, 4]), t([5, 2, 8]), t([7, 1, 8]), t([7, 1, 4]), t([5, 2, 4]), t([2, 2, 5]), LENGTHS),
  ],

  ['block mask: not one', 'ArgumentError', (k, t) => forward(k, t, { blockMask: 'causal' as never })],
  ['block mask: tiles of 32 rows', 'ArgumentError', masked({ blockM: 32 })],
  ['block mask: tiles of 100 keys', 'ArgumentError', masked({ blockN: 100 })],
  ['block mask: plain arrays', 'ArgumentError', masked({ kvBlocks: [0, 1, 0, 1] as never })],
  ['block mask: unsorted key blocks', 'ArgumentError', masked({ kvBlocks: ints(1, 0, 0, 1) })],
  ['block mask: unsorted query blocks', 'ArgumentError', masked({ qBlocks: ints(1, 0, 0, 1) })],
  ['block mask: a key block twice', 'ArgumentError', masked({ kvBlocks: ints(0, 0, 0, 1) })],
  ['block mask: a key block out of range', 'ArgumentError', masked({ kvBlocks: ints(0, 3, 0, 1) })],
  ['block mask: a negative key block', 'ArgumentError', masked({ kvBlocks: ints(-1, 1, 0, 1) })],
  ['block mask: a query block out of range', 'ArgumentError', masked({ qBlocks: ints(0, 2, 0, 1) })],
  ['block mask: offsets that descend', 'ArgumentError', masked({ qOffsets: ints(0, 2, 1, 4) })],
  ['block mask: offsets that end early', 'ArgumentError', masked({ kvOffsets: ints(0, 2, 3) })],
  ['block mask: too few offsets', 'ShapeError', masked({ kvOffsets: ints(0, 4) })],
  ['block mask: a tile without bits', 'ShapeError', masked({ kvBits: ints(-1, 0, 0) })],
  ['block mask: bits that are not there', 'ArgumentError', masked({ kvBits: ints(-1, 1, 0, -1) })],
  ['block mask: half a bit mask', 'ShapeError', masked({ bits: new Int32Array(64) })],
  [
    'block mask: a transpose that lacks a tile',
    'ArgumentError',
    masked({ qOffsets: ints(0, 2, 3, 3), qBlocks: ints(0, 1, 0), qBits: ints(-1, 0, 0) }),
  ],
  ['block mask: a transpose with other bits', 'ArgumentError', masked({ qBits: ints(-1, 0, -1, -1) })],
  ['block mask: of other lengths', 'ShapeError', masked({ seqlenQ: 101 })],
  [
    'block mask: of 3 heads for 2',
    'ShapeError',
    (k, t) => {
      const blockMask = randomMask({ seed: 1, blockM: 64, blockN: 64, full: 1, partial: 0, perHead: true }, 1, 3, 2, 3)
      return forward(k, t, { blockMask })
    },
  ],
  [
    'block mask: shorter than the longest sequence',
    'ShapeError',
    (k, t) => {
      const blockMask = randomMask({ seed: 1, blockM: 64, blockN: 64, full: 1, partial: 0 }, 1, 1, 3, 3)
      return packed(k, t, { ...LENGTHS, blockMask })
    },
  ],

  ...['rows', 'column sums', 'top k'].flatMap((name, i): Misuse[] => [
    [`${name} with cuSeqlens`, 'ArgumentError', (k, t) => inspected(LENGTHS)[i]?.(k, t)],
    [`${name} with a misspelt option`, 'ArgumentError', (k, t) => inspected({ casual: true } as never)[i]?.(k, t)],
    [`${name} with dropout without a seed`, 'ArgumentError', (k, t) => inspected({ dropoutP: 0.5 })[i]?.(k, t)],
  ]),
  ['rows out of range', 'ArgumentError', (k, t) => k.attentionRows(t([1, 2, 1, 8]), t([1, 3, 1, 8]), t([1, 1, 2]), [0, 2])],
  ['rows below 0', 'ArgumentError', (k, t) => k.attentionRows(t([1, 2, 1, 8]), t([1, 3, 1, 8]), t([1, 1, 2]), [-1])],
  ['rows of fractions', 'ArgumentError', (k, t) => k.attentionRows(t([1, 2, 1, 8]), t([1, 3, 1, 8]), t([1, 1, 2]), [0.5])],
  ['rows: a number', 'ArgumentError', (k, t) => k.attentionRows(t([1, 2, 1, 8]), t([1, 3, 1, 8]), t([1, 1, 2]), 0 as never)],
  ['rows: lse of another shape', 'ShapeError', (k, t) => k.attentionRows(t([1, 2, 1, 8]), t([1, 3, 1, 8]), t([1, 2]), [0])],
  ['column sums: lse in f16', 'DTypeError', (k, t) => k.attentionColumnSums(t([1, 2, 1, 8]), t([1, 3, 1, 8]), t([1, 1, 2], 'f16'))],
  ['top 0', 'ArgumentError', (k, t) => k.attentionTopK(t([1, 2, 1, 8]), t([1, 3, 1, 8]), t([1, 1, 2]), 0)],
  ['top 1.5', 'ArgumentError', (k, t) => k.attentionTopK(t([1, 2, 1, 8]), t([1, 3, 1, 8]), t([1, 1, 2]), 1.5)],
]
