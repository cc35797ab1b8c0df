import { beforeEach, describe, expect, test } from 'vitest'
import type { AttentionBackwardOptions, AttentionForwardOptions, AttentionOptions } from '../attention'
import type { BlockMask } from '../block-mask'
import type { DType } from '../dtype'
import { TestHost } from '../host.testing'
import type { Tensor } from '../tensor'
import {
  checkAttentionBackward,
  checkAttentionColumnSums,
  checkAttentionForward,
  checkAttentionRows,
  checkAttentionTopK,
  MAX_SAVED_KEYS,
  sequenceOf,
} from './index'

let host: TestHost
beforeEach(() => {
  host = new TestHost()
})
const t = (shape: readonly number[], dtype: DType = 'f32'): Tensor => host.zeros(shape, dtype)
const ints = (...values: number[]) => Int32Array.from(values)

/** B 2, Sq 5, Sk 7, H 4/2, D 8, Dv 3. */
const forward = (options: AttentionForwardOptions) =>
  checkAttentionForward(host, t([2, 5, 4, 8]), t([2, 7, 2, 8]), t([2, 7, 2, 3]), options)
const backward = (options: AttentionBackwardOptions) =>
  checkAttentionBackward(host, t([2, 5, 4, 3]), t([2, 5, 4, 8]), t([2, 7, 2, 8]), t([2, 7, 2, 3]), t([2, 5, 4, 3]), t([2, 4, 5]), options)
/** 10 query and 14 key rows, H 4/2, D 8, Dv 3. */
const packed = (options: AttentionForwardOptions) => checkAttentionForward(host, t([10, 4, 8]), t([14, 2, 8]), t([14, 2, 3]), options)

const emptyMask = (batchSize: number, nHeads: number, seqlenQ: number, seqlenK: number): BlockMask => ({
  batchSize,
  nHeads,
  seqlenQ,
  seqlenK,
  blockM: 64,
  blockN: 64,
  kvOffsets: new Int32Array(batchSize * nHeads * Math.ceil(seqlenQ / 64) + 1),
  kvBlocks: ints(),
  kvBits: ints(),
  qOffsets: new Int32Array(batchSize * nHeads * Math.ceil(seqlenK / 64) + 1),
  qBlocks: ints(),
  qBits: ints(),
  bits: ints(),
})

describe('bias', () => {
  // Element (b, h, i, j) of the broadcast bias lies at Σ index·stride.
  test.each([
    [
      [2, 4, 5, 7],
      [140, 35, 7, 1],
    ],
    [
      [1, 4, 5, 7],
      [0, 35, 7, 1],
    ],
    [
      [2, 1, 1, 7],
      [7, 0, 0, 1],
    ],
    [
      [1, 1, 1, 7],
      [0, 0, 0, 1],
    ],
    [
      [4, 1, 1],
      [0, 1, 0, 0],
    ],
    [
      [5, 7],
      [0, 0, 7, 1],
    ],
    [
      [5, 1],
      [0, 0, 1, 0],
    ],
    [[7], [0, 0, 0, 1]],
    [[1], [0, 0, 0, 0]],
    [[], [0, 0, 0, 0]],
  ])('%j is broadcast with strides %j', (shape, strides) => {
    expect(forward({ bias: t(shape) }).bias?.strides).toEqual(strides)
  })

  test('keeps the strides of a view', () => {
    expect(forward({ bias: t([5, 9]).slice([0, 1], [5, 8]) }).bias?.strides).toEqual([0, 0, 9, 1])
    expect(forward({ bias: t([4, 2, 5, 7]).permute([1, 0, 2, 3]) }).bias?.strides).toEqual([35, 70, 7, 1])
  })

  test.each([[[3, 4, 5, 7]], [[2, 2, 5, 7]], [[5, 6]], [[7, 5]], [[0, 7]], [[1, 2, 4, 5, 7]]])('%j is refused', (shape) => {
    expect(() => forward({ bias: t(shape) })).toThrow(
      expect.objectContaining({
        name: 'ShapeError',
        message: `attentionForward: bias must be broadcastable to [2, 4, 5, 7], got [${shape.join(', ')}]`,
      }),
    )
  })

  test('is f32, of this backend, alive, with a contiguous last axis', () => {
    expect(() => forward({ bias: t([7], 'f16') })).toThrow('attentionForward: bias must be f32, got f16')
    expect(() => forward({ bias: new TestHost().zeros([7]) })).toThrow(expect.objectContaining({ name: 'BackendMismatchError' }))
    expect(() => forward({ bias: [0] as never })).toThrow('attentionForward: bias must be a tensor, got [0]')
    expect(() => forward({ bias: t([7, 5]).permute([1, 0]) })).toThrow('the last axis of bias must be contiguous')
    const gone = t([7])
    gone.dispose()
    expect(() => forward({ bias: gone })).toThrow(expect.objectContaining({ name: 'DisposedError' }))
  })

  test('is refused with cuSeqlens, by name', () => {
    expect(() => packed({ bias: t([7]), cuSeqlensQ: ints(0, 10), cuSeqlensK: ints(0, 14) })).toThrow(
      'attentionForward: bias must be left out with cuSeqlensQ: sequences of several lengths share no [Sq, Sk], got bias [7]',
    )
  })
})

describe('alibiSlopes and sink', () => {
  test('slopes of a head, or of a batch entry and a head', () => {
    expect(forward({ alibiSlopes: t([4]) }).alibiSlopes?.strides).toEqual([0, 1])
    expect(forward({ alibiSlopes: t([2, 4]) }).alibiSlopes?.strides).toEqual([4, 1])
    expect(forward({ alibiSlopes: t([2, 6]).slice([0, 1], [2, 5]) }).alibiSlopes?.strides).toEqual([6, 1])
    expect(() => forward({ alibiSlopes: t([2]) })).toThrow('attentionForward: alibiSlopes must be [4], got [2]')
    expect(() => forward({ alibiSlopes: t([1, 4]) })).toThrow('attentionForward: alibiSlopes must be [2, 4], got [1, 4]')
    expect(() => forward({ alibiSlopes: t([1]) })).toThrow('alibiSlopes must be [4], got [1]')
    expect(() => forward({ alibiSlopes: t([4], 'bf16') })).toThrow('alibiSlopes must be f32, got bf16')
  })

  test('with cuSeqlens, slopes are of sequences', () => {
    const lengths = { cuSeqlensQ: ints(0, 3, 4, 10), cuSeqlensK: ints(0, 3, 3, 14) }
    expect(packed({ ...lengths, alibiSlopes: t([3, 4]) }).alibiSlopes?.strides).toEqual([4, 1])
    expect(() => packed({ ...lengths, alibiSlopes: t([2, 4]) })).toThrow('alibiSlopes must be [3, 4], got [2, 4]')
  })

  test('a sink of a head', () => {
    expect(() => forward({ sink: t([4]) })).not.toThrow()
    expect(() => forward({ sink: t([2]) })).toThrow('attentionForward: sink must be [4], got [2]')
    expect(() => forward({ sink: t([2, 4]) })).toThrow('attentionForward: sink must be [4], got [2, 4]')
    expect(() => forward({ sink: t([4], 'i32') })).toThrow('attentionForward: sink must be f32, got i32')
  })
})

describe('dropout', () => {
  test('the threshold is ⌊dropoutP·2^32⌋', () => {
    expect(forward({ dropoutP: 0.5, seed: 2 ** 53 - 1 })).toMatchObject({ dropoutP: 0.5, dropoutThreshold: 2 ** 31, seed: 2 ** 53 - 1 })
    expect(forward({ dropoutP: 0.1, seed: 0 }).dropoutThreshold).toBe(429496729)
    expect(forward({ dropoutP: 0 })).toMatchObject({ dropoutP: 0, dropoutThreshold: 0 })
  })

  test.each([
    [{ dropoutP: 1, seed: 1 }, 'dropoutP must be in [0, 1), got 1'],
    [{ dropoutP: -0.1, seed: 1 }, 'dropoutP must be in [0, 1), got -0.1'],
    [{ dropoutP: Number.NaN, seed: 1 }, 'dropoutP must be in [0, 1), got NaN'],
    [{ dropoutP: 0.1 }, 'seed must be given with dropoutP > 0, got none'],
    [{ dropoutP: 0.1, seed: -1 }, 'seed must be an integer ≥ 0, got -1'],
    [{ dropoutP: 0.1, seed: 0.5 }, 'seed must be an integer ≥ 0, got 0.5'],
    [{ dropoutP: 0.1, seed: 2 ** 53 }, 'seed must be an integer ≥ 0, got 9007199254740992'],
    [{ seed: 'a' as never }, "seed must be an integer ≥ 0, got 'a'"],
  ])('%j: %s', (options, message) => {
    expect(() => forward(options)).toThrow(expect.objectContaining({ name: 'ArgumentError', message: `attentionForward: ${message}` }))
  })
})

describe('variable lengths', () => {
  const lengths = { cuSeqlensQ: ints(0, 3, 3, 10), cuSeqlensK: ints(0, 0, 9, 14) }

  test('sizes are those of the longest sequences, shapes those of all rows', () => {
    expect(packed(lengths)).toMatchObject({
      batchSize: 3,
      seqlenQ: 7,
      seqlenK: 9,
      totalQ: 10,
      totalK: 14,
      nHeads: 4,
      nHeadsK: 2,
      headDim: 8,
      headDimV: 3,
      outShape: [10, 4, 3],
      lseShape: [4, 10],
    })
  })

  test('each sequence has its own rows, and its own band from its own lengths', () => {
    const problem = packed({ ...lengths, causal: true, windowSize: [2, -1] })
    expect([0, 1, 2].map((b) => sequenceOf(problem, b))).toEqual([
      { beginQ: 0, seqlenQ: 3, beginK: 0, seqlenK: 0, diagonalMin: -5, diagonalMax: -3 },
      { beginQ: 3, seqlenQ: 0, beginK: 0, seqlenK: 9, diagonalMin: 7, diagonalMax: 9 },
      { beginQ: 3, seqlenQ: 7, beginK: 9, seqlenK: 5, diagonalMin: -4, diagonalMax: -2 },
    ])
    const topLeft = packed({ ...lengths, causal: true, causalAlign: 'top-left' })
    expect([0, 1, 2].map((b) => sequenceOf(topLeft, b).diagonalMax)).toEqual([0, 0, 0])
  })

  test('equal lengths are sequences too', () => {
    expect(sequenceOf(forward({}), 1)).toMatchObject({ beginQ: 5, seqlenQ: 5, beginK: 7, seqlenK: 7 })
  })

  test('what the caller does to its arrays afterwards does not matter', () => {
    const cuSeqlensQ = ints(0, 3, 10)
    const problem = packed({ cuSeqlensQ, cuSeqlensK: ints(0, 3, 14) })
    cuSeqlensQ.fill(99)
    expect(sequenceOf(problem, 1)).toMatchObject({ beginQ: 3, seqlenQ: 7 })
  })

  test('no sequences, and sequences without rows', () => {
    const none = (batch: number) =>
      checkAttentionForward(host, t([0, 4, 8]), t([0, 2, 8]), t([0, 2, 3]), {
        cuSeqlensQ: new Int32Array(batch + 1),
        cuSeqlensK: new Int32Array(batch + 1),
      })
    expect(none(0)).toMatchObject({ batchSize: 0, seqlenQ: 0, totalQ: 0, outShape: [0, 4, 3], lseShape: [4, 0] })
    expect(none(3)).toMatchObject({ batchSize: 3, seqlenQ: 0, seqlenK: 0 })
  })

  test.each<[string, object, string]>([
    [
      'one alone',
      { cuSeqlensQ: ints(0, 10) },
      'cuSeqlensK must be an Int32Array of B + 1 offsets (cuSeqlensQ and cuSeqlensK go together), got nothing',
    ],
    ['the other alone', { cuSeqlensK: ints(0, 14) }, 'cuSeqlensQ must be an Int32Array of B + 1 offsets'],
    ['plain arrays', { cuSeqlensQ: [0, 10], cuSeqlensK: ints(0, 14) }, 'cuSeqlensQ must be an Int32Array of B + 1 offsets'],
    ['no offsets', { cuSeqlensQ: ints(), cuSeqlensK: ints() }, 'got an empty Int32Array'],
    [
      'a late start',
      { cuSeqlensQ: ints(1, 10), cuSeqlensK: ints(0, 14) },
      'cuSeqlensQ must go from 0 to 10, the number of rows, got 1 to 10',
    ],
    [
      'an early end',
      { cuSeqlensQ: ints(0, 10), cuSeqlensK: ints(0, 13) },
      'cuSeqlensK must go from 0 to 14, the number of rows, got 0 to 13',
    ],
    ['an end past the rows', { cuSeqlensQ: ints(0, 11), cuSeqlensK: ints(0, 14) }, 'cuSeqlensQ must go from 0 to 10'],
    ['offsets that fall', { cuSeqlensQ: ints(0, 7, 3, 10), cuSeqlensK: ints(0, 1, 2, 14) }, 'cuSeqlensQ must ascend, got 7 before 3'],
    [
      'two batch sizes',
      { cuSeqlensQ: ints(0, 10), cuSeqlensK: ints(0, 7, 14) },
      'cuSeqlensQ and cuSeqlensK must be of one length, got 2 and 3',
    ],
  ])('%s is refused', (_, options, message) => {
    expect(() => packed(options)).toThrow(expect.objectContaining({ name: 'ArgumentError', message: expect.stringContaining(message) }))
    expect(() => packed(options)).toThrow(/^attentionForward: [^\n]+$/)
  })

  test('tensors of four axes are refused', () => {
    expect(() => forward({ cuSeqlensQ: ints(0, 10), cuSeqlensK: ints(0, 14) })).toThrow(
      'attentionForward: q must be [totalQ, Hq, D], got [2, 5, 4, 8]',
    )
    expect(() => packed({})).toThrow('attentionForward: q must be [B, Sq, Hq, D], got [10, 4, 8]')
  })
})

describe('block masks', () => {
  test.each([
    [1, 1],
    [2, 1],
    [1, 4],
    [2, 4],
  ])('of %d × %d fit B 2 and H 4', (batchSize, nHeads) => {
    const blockMask = emptyMask(batchSize, nHeads, 5, 7)
    expect(forward({ blockMask }).blockMask).toBe(blockMask)
  })

  test.each([
    [3, 1, 5, 7],
    [1, 2, 5, 7],
    [1, 1, 6, 7],
    [1, 1, 5, 64],
  ])('of %d × %d over %d × %d do not', (batchSize, nHeads, seqlenQ, seqlenK) => {
    expect(() => forward({ blockMask: emptyMask(batchSize, nHeads, seqlenQ, seqlenK) })).toThrow(
      expect.objectContaining({
        name: 'ShapeError',
        message: `attentionForward: blockMask must cover [2 or 1, 4 or 1, 5, 7], got [${batchSize}, ${nHeads}, ${seqlenQ}, ${seqlenK}]`,
      }),
    )
  })

  test('with cuSeqlens they cover the longest sequence, or more', () => {
    const lengths = { cuSeqlensQ: ints(0, 3, 10), cuSeqlensK: ints(0, 9, 14) }
    expect(() => packed({ ...lengths, blockMask: emptyMask(2, 1, 7, 9) })).not.toThrow()
    expect(() => packed({ ...lengths, blockMask: emptyMask(1, 4, 100, 64) })).not.toThrow()
    expect(() => packed({ ...lengths, blockMask: emptyMask(1, 1, 6, 9) })).toThrow(
      'blockMask must cover [2 or 1, 4 or 1, ≥ 7, ≥ 9], got [1, 1, 6, 9]',
    )
    expect(() => packed({ ...lengths, blockMask: emptyMask(1, 1, 7, 8) })).toThrow('must cover')
  })

  test('are checked as such', () => {
    expect(() => forward({ blockMask: { ...emptyMask(1, 1, 5, 7), blockM: 32 } })).toThrow(
      'attentionForward: blockMask.blockM must be a positive multiple of 64, got 32',
    )
    expect(() => forward({ blockMask: 'causal' as never })).toThrow('attentionForward: blockMask must be a BlockMask, got causal')
  })
})

describe('optionGradients', () => {
  const learnable = () => ({ alibiSlopes: t([4]), bias: t([7]), sink: t([4]) })

  test('default to each that is given', () => {
    expect(backward({}).optionGradients).toEqual([])
    expect(backward({ sink: t([4]), bias: t([7]) }).optionGradients).toEqual(['bias', 'sink'])
    expect(backward(learnable()).optionGradients).toEqual(['alibiSlopes', 'bias', 'sink'])
  })

  test('choose among those', () => {
    expect(backward({ ...learnable(), optionGradients: ['sink', 'alibiSlopes'] }).optionGradients).toEqual(['alibiSlopes', 'sink'])
    expect(backward({ ...learnable(), optionGradients: [] }).optionGradients).toEqual([])
  })

  test('not what is not given, and not in the forward pass', () => {
    expect(() => backward({ bias: t([7]), optionGradients: ['sink'] })).toThrow(
      "attentionBackward: optionGradients must be among the learnable options given (bias), got 'sink'",
    )
    expect(() => backward({ optionGradients: ['softcap' as never] })).toThrow("(none), got 'softcap'")
    expect(() => backward({ ...learnable(), optionGradients: 'sink' as never })).toThrow("got 'sink'")
    expect(() => forward({ optionGradients: [] } as never)).toThrow("got 'optionGradients'")
  })
})

describe('probabilities', () => {
  test('may be returned for up to MAX_SAVED_KEYS keys, where they are asked for', () => {
    const asked = (seqlenK: number, saveProbabilities?: boolean) =>
      checkAttentionForward(host, t([1, 5, 1, 8]), t([1, seqlenK, 1, 8]), t([1, seqlenK, 1, 8]), {
        ...(saveProbabilities !== undefined && { saveProbabilities }),
      }).saveProbabilities
    expect([asked(7, true), asked(MAX_SAVED_KEYS, true)]).toEqual([true, true])
    expect([asked(MAX_SAVED_KEYS + 1, true), asked(7, false), asked(7)]).toEqual([false, false, false])
    const cuSeqlens = { cuSeqlensQ: ints(0, 4, 10), cuSeqlensK: ints(0, 7, 14) }
    expect(packed({ ...cuSeqlens, saveProbabilities: true }).saveProbabilities).toBe(false)
    expect(() => forward({ saveProbabilities: 1 as never })).toThrow('attentionForward: saveProbabilities must be true or false, got 1')
  })

  test('given to the backward pass', () => {
    const probabilities = t([2, 4, 5, 7])
    expect(backward({ probabilities }).probabilities).toBe(probabilities)
    expect('probabilities' in backward({})).toBe(false)
    expect(() => backward({ probabilities: t([2, 4, 7, 5]) })).toThrow('probabilities must be [2, 4, 5, 7], got [2, 4, 7, 5]')
    expect(() => backward({ probabilities: t([2, 4, 5, 7], 'f16') })).toThrow('attentionBackward: probabilities must be f32, got f16')
    expect(() => backward({ probabilities: t([2, 4, 7, 5]).permute([0, 1, 3, 2]) })).toThrow('probabilities must be contiguous')
    expect(() => backward({ probabilities: 1 as never })).toThrow('attentionBackward: probabilities must be a tensor, got 1')
    expect(() => backward({ saveProbabilities: true } as never)).toThrow("got 'saveProbabilities'")
    expect(() => forward({ probabilities } as never)).toThrow("got 'probabilities'")
    const lengths = { cuSeqlensQ: ints(0, 4, 10), cuSeqlensK: ints(0, 7, 14) }
    const tensors = [t([10, 4, 3]), t([10, 4, 8]), t([14, 2, 8]), t([14, 2, 3]), t([10, 4, 3]), t([4, 10])] as const
    expect(() => checkAttentionBackward(host, ...tensors, { ...lengths, probabilities })).toThrow(
      'attentionBackward: probabilities must be left out with cuSeqlensQ, got [2, 4, 5, 7]',
    )
  })
})

describe('looking inside', () => {
  const q = () => t([2, 5, 4, 8])
  const k = () => t([2, 7, 2, 8])
  const lse = () => t([2, 4, 5])
  const calls = {
    attentionRows: (options: AttentionOptions, to = lse()) => checkAttentionRows(host, q(), k(), to, [0], options),
    attentionColumnSums: (options: AttentionOptions, to = lse()) => checkAttentionColumnSums(host, q(), k(), to, options),
    attentionTopK: (options: AttentionOptions, to = lse()) => checkAttentionTopK(host, q(), k(), to, 1, options),
  }

  test('shapes of the results', () => {
    expect(checkAttentionRows(host, q(), k(), lse(), [4, 0, 4])).toMatchObject({ rows: ints(4, 0, 4), rowsShape: [2, 4, 3, 7] })
    expect(checkAttentionRows(host, q(), k(), lse(), []).rowsShape).toEqual([2, 4, 0, 7])
    expect(checkAttentionColumnSums(host, q(), k(), lse()).sumsShape).toEqual([2, 4, 7])
    expect(checkAttentionTopK(host, q(), k(), lse(), 9)).toMatchObject({ topK: 9, topKShape: [2, 4, 5, 9] })
  })

  test.each<[readonly unknown[] | unknown, string]>([
    [[5], 'attentionRows: rows must be integers in 0..4, got 5'],
    [[0, -1], 'attentionRows: rows must be integers in 0..4, got -1'],
    [[0.5], 'attentionRows: rows must be integers in 0..4, got 0.5'],
    [['0'], 'attentionRows: rows must be integers in 0..4, got 0'],
    [3, 'attentionRows: rows must be an array of query indices, got number'],
    [null, 'attentionRows: rows must be an array of query indices, got object'],
    [{}, 'attentionRows: rows must be an array of query indices, got object'],
  ])('rows %j: %s', (rows, message) => {
    expect(() => checkAttentionRows(host, q(), k(), lse(), rows as never)).toThrow(
      expect.objectContaining({ name: 'ArgumentError', message }),
    )
  })

  test.each([0, -1, 1.5, Number.NaN])('topK %d is refused', (topK) => {
    expect(() => checkAttentionTopK(host, q(), k(), lse(), topK)).toThrow(`attentionTopK: topK must be an integer ≥ 1, got ${topK}`)
  })

  test.each(Object.entries(calls))('%s checks lse, options and lifetimes', (fn, call) => {
    expect(() => call({ causal: true, dropoutP: 0.5, seed: 1, sink: t([4]), bias: t([7]), alibiSlopes: t([2, 4]) })).not.toThrow()
    expect(() => call({}, t([2, 4, 6]))).toThrow(`${fn}: lse must be [2, 4, 5], got [2, 4, 6]`)
    expect(() => call({}, t([2, 4, 5], 'f16'))).toThrow(`${fn}: lse must be f32, got f16`)
    expect(() => call({ casual: true } as never)).toThrow(new RegExp(`^${fn}: .*got 'casual'$`))
    expect(() => call({ cuSeqlensQ: ints(0, 10), cuSeqlensK: ints(0, 14) })).toThrow(
      `${fn}: cuSeqlensQ and cuSeqlensK must be left out: slice q, k and lse to one sequence, got variable lengths`,
    )
    const gone = lse()
    gone.dispose()
    expect(() => call({}, gone)).toThrow(expect.objectContaining({ name: 'DisposedError' }))
  })
})
