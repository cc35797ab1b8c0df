import { beforeEach, describe, expect, test } from 'vitest'
import type { Backend } from '../backend'
import type { DType } from '../dtype'
import { TestHost } from '../host.testing'
import type { Tensor } from '../tensor'
import {
  checkAdamwStep,
  checkAdd,
  checkAttentionBackward,
  checkAttentionForward,
  checkCast,
  checkCopy,
  checkCrossEntropyBackward,
  checkCrossEntropyForward,
  checkEmbeddingBackward,
  checkEmbeddingForward,
  checkGeluBackward,
  checkGeluForward,
  checkLayerNormBackward,
  checkLayerNormForward,
  checkLinearCrossEntropyBackward,
  checkLinearCrossEntropyForward,
  checkMatmul,
  checkRmsNormBackward,
  checkRmsNormForward,
  checkRopeBackward,
  checkRopeForward,
  checkScale,
  checkSoftmaxBackward,
  checkSoftmaxForward,
  checkSumRows,
  checkSumSquares,
  checkSwigluBackward,
  checkSwigluForward,
  rows,
  sequenceOf,
} from './index'

let host: TestHost
beforeEach(() => {
  host = new TestHost()
})
const t = (shape: readonly number[], dtype: DType = 'f32'): Tensor => host.zeros(shape, dtype)

const ADAMW = { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0, step: 1 }

type Make = (shape: readonly number[], dtype?: DType) => Tensor

/** A right call of every check: tensors by their shapes, then what follows them. */
const CALLS: Readonly<
  Record<
    string,
    { tensors: (readonly [shape: readonly number[], dtype?: DType])[]; call: (b: Backend, t: Tensor[], extra?: object) => object }
  >
> = {
  attentionForward: {
    tensors: [[[2, 5, 4, 8]], [[2, 7, 2, 8]], [[2, 7, 2, 3]]],
    call: (b, [q, k, v], o) => checkAttentionForward(b, q!, k!, v!, o),
  },
  attentionBackward: {
    tensors: [[[2, 5, 4, 3]], [[2, 5, 4, 8]], [[2, 7, 2, 8]], [[2, 7, 2, 3]], [[2, 5, 4, 3]], [[2, 4, 5]]],
    call: (b, [dout, q, k, v, out, lse], o) => checkAttentionBackward(b, dout!, q!, k!, v!, out!, lse!, o),
  },
  matmul: { tensors: [[[2, 3, 4]], [[4, 5]]], call: (b, [x, y], o) => checkMatmul(b, x!, y!, o) },
  sumRows: { tensors: [[[2, 3, 4]]], call: (b, [x], o) => checkSumRows(b, x!, o) },
  layerNormForward: { tensors: [[[2, 3]], [[3]], [[3]]], call: (b, [x, w, c], o) => checkLayerNormForward(b, x!, w!, c!, o) },
  layerNormBackward: {
    tensors: [[[2, 3]], [[2, 3]], [[3]], [[2]], [[2]]],
    call: (b, [d, x, w, m, r], o) => checkLayerNormBackward(b, d!, x!, w!, m!, r!, o),
  },
  rmsNormForward: { tensors: [[[2, 3]], [[3]]], call: (b, [x, w], o) => checkRmsNormForward(b, x!, w!, o) },
  rmsNormBackward: {
    tensors: [[[2, 3]], [[2, 3]], [[3]], [[2]]],
    call: (b, [d, x, w, r], o) => checkRmsNormBackward(b, d!, x!, w!, r!, o),
  },
  softmaxForward: { tensors: [[[2, 3]]], call: (b, [x], o) => checkSoftmaxForward(b, x!, o) },
  softmaxBackward: { tensors: [[[2, 3]], [[2, 3]]], call: (b, [d, x], o) => checkSoftmaxBackward(b, d!, x!, o) },
  geluForward: { tensors: [[[2, 3]]], call: (b, [x], o) => checkGeluForward(b, x!, o) },
  geluBackward: { tensors: [[[2, 3]], [[2, 3]]], call: (b, [d, x], o) => checkGeluBackward(b, d!, x!, o) },
  swigluForward: { tensors: [[[2, 3]], [[2, 3]]], call: (b, [g, u], o) => checkSwigluForward(b, g!, u!, o) },
  swigluBackward: { tensors: [[[2, 3]], [[2, 3]], [[2, 3]]], call: (b, [d, g, u], o) => checkSwigluBackward(b, d!, g!, u!, o) },
  embeddingForward: { tensors: [[[2, 3], 'i32'], [[5, 4]]], call: (b, [x, w], o) => checkEmbeddingForward(b, x!, w!, o) },
  embeddingBackward: { tensors: [[[2, 3, 4]], [[2, 3], 'i32']], call: (b, [d, x], o) => checkEmbeddingBackward(b, d!, x!, 5, o) },
  ropeForward: { tensors: [[[1, 4, 2, 8]], [[6, 3]], [[6, 3]]], call: (b, [x, c, s], o) => checkRopeForward(b, x!, c!, s!, o) },
  ropeBackward: { tensors: [[[1, 4, 2, 8]], [[6, 3]], [[6, 3]]], call: (b, [x, c, s], o) => checkRopeBackward(b, x!, c!, s!, o) },
  crossEntropyForward: { tensors: [[[2, 3]], [[2], 'i32']], call: (b, [x, y], o) => checkCrossEntropyForward(b, x!, y!, o) },
  crossEntropyBackward: {
    tensors: [[[]], [[2, 3]], [[2], 'i32'], [[2]]],
    call: (b, [d, x, y, l], o) => checkCrossEntropyBackward(b, d!, x!, y!, l!, o),
  },
  linearCrossEntropyForward: {
    tensors: [[[2, 3]], [[5, 3]], [[2], 'i32']],
    call: (b, [x, w, y], o) => checkLinearCrossEntropyForward(b, x!, w!, y!, o),
  },
  linearCrossEntropyBackward: {
    tensors: [[[]], [[2, 3]], [[5, 3]], [[2], 'i32'], [[2]]],
    call: (b, [d, x, w, y, l], o) => checkLinearCrossEntropyBackward(b, d!, x!, w!, y!, l!, o),
  },
  add: { tensors: [[[2, 3]], [[2, 3]]], call: (b, [x, y], o) => checkAdd(b, x!, y!, o) },
  scale: { tensors: [[[2, 3]]], call: (b, [x], o) => checkScale(b, x!, 2, o) },
  copy: { tensors: [[[2, 3]]], call: (b, [x], o) => checkCopy(b, x!, o) },
  adamwStep: {
    tensors: [[[2, 3]], [[2, 3]], [[2, 3]], [[2, 3]]],
    call: (b, [p, g, m, v], o) => checkAdamwStep(b, p!, g!, m!, v!, { ...ADAMW, ...o }),
  },
  sumSquares: { tensors: [[[2, 3]]], call: (b, [x], o) => checkSumSquares(b, x!, o) },
}

describe.each(Object.entries(CALLS))('%s', (fn, { tensors, call }) => {
  const made = (make: Make = t) => tensors.map(([shape, dtype]) => make(shape, dtype))

  test('accepts a right call', () => {
    expect(call(host, made())).toBeTypeOf('object')
  })

  test('names the function and refuses an unknown option by name', () => {
    expect(() => call(host, made(), { casual: true })).toThrow(expect.objectContaining({ name: 'ArgumentError' }))
    expect(() => call(host, made(), { casual: true })).toThrow(new RegExp(`^${fn}: .*got 'casual'$`))
  })

  test.each(tensors.map((_, i) => i))('argument %d: disposed, of another backend, no tensor, or of the wrong dtype or rank', (i) => {
    const wrong = (change: (right: Tensor) => unknown) => {
      const args = made()
      args[i] = change(args[i] as Tensor) as Tensor
      return () => call(host, args)
    }
    const error = (name: string) => expect.objectContaining({ name, message: expect.stringMatching(new RegExp(`^${fn}: [^\n]+$`)) })
    const disposed = (x: Tensor) => {
      x.dispose()
      return x
    }
    expect(wrong(disposed)).toThrow(error('DisposedError'))
    expect(wrong(({ shape, dtype }) => new TestHost().zeros(shape, dtype))).toThrow(error('BackendMismatchError'))
    expect(wrong(() => undefined)).toThrow(error('ArgumentError'))
    if (fn !== 'copy') expect(wrong(({ shape, dtype }) => t(shape, dtype === 'i32' ? 'f32' : 'i32'))).toThrow(error('DTypeError'))
    // Tokens may have any shape; a single input sets the shape itself.
    const free = tensors.length === 1 || (fn === 'embeddingForward' && i === 0)
    if (!free) expect(wrong(({ shape, dtype }) => t([...shape, 2], dtype))).toThrow(error('ShapeError'))
  })
})

describe('strides', () => {
  test('the last axis of inputs is contiguous, the others may have any strides', () => {
    const x = t([3, 2, 4]).permute([1, 0, 2])
    expect(checkGeluForward(host, x)).toEqual({ elements: 24, outShape: [2, 3, 4], dtype: 'f32' })
    expect(() => checkGeluForward(host, t([3, 4]).permute([1, 0]))).toThrow(
      'geluForward: the last axis of x must be contiguous (copy() it first), got strides [1, 4]',
    )
    // One element has no neighbour, and no elements have none.
    expect(() => checkGeluForward(host, t([1, 4]).permute([1, 0]))).not.toThrow()
    expect(() => checkGeluForward(host, t([3, 0]).permute([1, 0]))).not.toThrow()
  })

  test('what is written is contiguous, except by copy', () => {
    const gap = t([2, 4]).slice([0, 0], [2, 3])
    expect(() => checkGeluForward(host, t([2, 3]), { out: gap })).toThrow(
      'geluForward: out must be contiguous, got strides [4, 1] for shape [2, 3]',
    )
    expect(() => checkAdamwStep(host, gap, t([2, 3]), t([2, 3]), t([2, 3]), ADAMW)).toThrow('adamwStep: param must be contiguous')
    expect(() => checkAdamwStep(host, t([2, 3]), gap, t([2, 3]), t([2, 3]), ADAMW)).not.toThrow()
    expect(() => checkCopy(host, t([2, 3]), { out: gap })).not.toThrow()
  })

  test('what is written has the result’s shape and dtype; sums may be f32', () => {
    expect(() => checkGeluForward(host, t([2, 3]), { out: t([3, 2]) })).toThrow('geluForward: out must be [2, 3], got [3, 2]')
    expect(() => checkGeluForward(host, t([2], 'f16'), { out: t([2]) })).toThrow('geluForward: out must be f16, got f32')
    expect(() => checkSumRows(host, t([2, 3], 'bf16'), { accumulateInto: t([3]) })).not.toThrow()
    expect(() => checkSumRows(host, t([2, 3], 'bf16'), { accumulateInto: t([3], 'f16') })).toThrow(
      'accumulateInto must be bf16 or f32, got f16',
    )
  })
})

describe('attention', () => {
  const band = (seqlenQ: number, seqlenK: number, options: object) => {
    const problem = checkAttentionForward(host, t([1, seqlenQ, 1, 4]), t([1, seqlenK, 1, 4]), t([1, seqlenK, 1, 4]), options)
    const { diagonalMin, diagonalMax } = sequenceOf(problem, 0)
    return [diagonalMin, diagonalMax]
  }
  const INF = Number.POSITIVE_INFINITY

  test('sizes', () => {
    const problem = checkAttentionForward(host, t([2, 5, 4, 16]), t([2, 7, 2, 16]), t([2, 7, 2, 3]))
    expect(problem).toEqual({
      batchSize: 2,
      seqlenQ: 5,
      seqlenK: 7,
      nHeads: 4,
      nHeadsK: 2,
      headDim: 16,
      headDimV: 3,
      softmaxScale: 0.25,
      softcap: 0,
      windowLeft: INF,
      windowRight: INF,
      causalTopLeft: false,
      dropoutP: 0,
      dropoutThreshold: 0,
      seed: 0,
      totalQ: 10,
      totalK: 14,
      dtype: 'f32',
      outShape: [2, 5, 4, 3],
      lseShape: [2, 4, 5],
      saveProbabilities: false,
    })
  })

  // The band must be the definition of causal and windows, key by key.
  test.each([
    [3, 5, {}],
    [3, 5, { causal: true }],
    [5, 3, { causal: true }],
    [3, 5, { causal: true, causalAlign: 'top-left' }],
    [5, 3, { windowSize: [1, 0] }],
    [4, 6, { windowSize: [-1, 1], causal: true }],
    [4, 6, { windowSize: [2, -1], causal: true, causalAlign: 'top-left' }],
    [4, 4, { windowSize: [0, 3], causal: true }],
  ])('%d queries, %d keys, %j', (seqlenQ, seqlenK, options: { causal?: boolean; causalAlign?: string; windowSize?: number[] }) => {
    const [min, max] = band(seqlenQ, seqlenK, options) as [number, number]
    const { causal = false, causalAlign = 'bottom-right', windowSize: [left, right] = [-1, -1] } = options
    for (let i = 0; i < seqlenQ; i++) {
      for (let j = 0; j < seqlenK; j++) {
        const centre = i + seqlenK - seqlenQ
        const future = causal && j > (causalAlign === 'top-left' ? i : centre)
        const outside =
          ((left as number) >= 0 && j < centre - (left as number)) || ((right as number) >= 0 && j > centre + (right as number))
        expect([i, j, min <= j - i && j - i <= max]).toEqual([i, j, !future && !outside])
      }
    }
  })

  test('empty sequences and batches are fine', () => {
    expect(checkAttentionForward(host, t([0, 0, 1, 1]), t([0, 0, 1, 1]), t([0, 0, 1, 1])).outShape).toEqual([0, 0, 1, 1])
    expect(band(0, 5, { causal: true })).toEqual([-INF, 5])
  })

  test.each([
    [{ softmaxScale: Number.NaN }, 'softmaxScale must be a finite number, got NaN'],
    [{ softmaxScale: '1' }, "softmaxScale must be a finite number, got '1'"],
    [{ softcap: 0 }, 'softcap must be a finite number > 0, got 0'],
    [{ softcap: Number.POSITIVE_INFINITY }, 'softcap must be a finite number > 0, got Infinity'],
    [{ causal: 1 }, 'causal must be true or false, got 1'],
    [{ causalAlign: 'top' }, "causalAlign must be 'bottom-right' or 'top-left', got 'top'"],
    [{ windowSize: [1, -2] }, 'windowSize must be [left, right], two integers ≥ −1, got [1, -2]'],
    [{ windowSize: [1] }, 'windowSize must be [left, right], two integers ≥ −1, got [1]'],
    [{ windowSize: 5 }, 'windowSize must be [left, right], two integers ≥ −1, got 5'],
    [
      { casual: true },
      "options must be among softmaxScale, softcap, causal, causalAlign, windowSize, alibiSlopes, bias, sink, dropoutP, seed, cuSeqlensQ, cuSeqlensK, blockMask, saveProbabilities, got 'casual'",
    ],
  ])('%j: %s', (options, message) => {
    expect(() => band(2, 2, options)).toThrow(`attentionForward: ${message}`)
  })

  test('heads and head dims', () => {
    const call = (nHeads: number, nHeadsK: number, headDim: number) => () =>
      checkAttentionForward(host, t([1, 2, nHeads, headDim]), t([1, 2, nHeadsK, headDim]), t([1, 2, nHeadsK, 4]))
    expect(call(6, 3, 256)).not.toThrow()
    expect(call(3, 2, 4)).toThrow('the heads of q must be a positive multiple of the heads of k and v, got 3 and 2')
    expect(call(2, 4, 4)).toThrow('positive multiple')
    expect(call(0, 1, 4)).toThrow('positive multiple')
    expect(call(1, 1, 257)).toThrow('attentionForward: the head dim of q must be in 1..256, got 257')
    expect(call(1, 1, 0)).toThrow('the head dim of q must be in 1..256')
  })
})

describe('matmul', () => {
  test.each([
    [[2, 3], [3, 5], {}, { batch: 1, m: 2, n: 5, k: 3, sharedB: true, outShape: [2, 5] }],
    [[3, 2], [5, 3], { transposeA: true, transposeB: true }, { batch: 1, m: 2, n: 5, k: 3, outShape: [2, 5] }],
    [[4, 6, 2, 3], [3, 5], {}, { batch: 24, sharedB: true, outShape: [4, 6, 2, 5] }],
    [[4, 6, 2, 3], [4, 6, 3, 5], {}, { batch: 24, sharedB: false, outShape: [4, 6, 2, 5] }],
    [[0, 3], [3, 5], {}, { m: 0, outShape: [0, 5] }],
    [[2, 0], [0, 5], {}, { k: 0, outShape: [2, 5] }],
  ])('%j by %j with %j', (a, b, options, expected) => {
    expect(checkMatmul(host, t(a), t(b), options)).toMatchObject(expected)
  })

  test('errors say what would fit', () => {
    expect(() => checkMatmul(host, t([2, 384]), t([128, 64]))).toThrow('matmul: b must be [384, N], got [128, 64]')
    expect(() => checkMatmul(host, t([2, 384]), t([384, 64]), { transposeB: true })).toThrow('matmul: b must be [N, 384], got [384, 64]')
    expect(() => checkMatmul(host, t([7, 2, 3]), t([6, 3, 4]))).toThrow('matmul: b must be [7, 3, N], got [6, 3, 4]')
    expect(() => checkMatmul(host, t([3]), t([3, 4]))).toThrow('matmul: a must be [..., M, K], got [3]')
    expect(() => checkMatmul(host, t([2, 3]), t([3, 4]), { bias: t([2]) })).toThrow('matmul: bias must be [4], got [2]')
    expect(() => checkMatmul(host, t([2, 3]), t([3, 4]), { accumulateInto: t([2, 4]), activation: 'gelu' })).toThrow('without bias')
  })
})

test('options out of range', () => {
  const adamw = (change: object) => () => checkAdamwStep(host, t([2]), t([2]), t([2]), t([2]), { ...ADAMW, ...change })
  for (const wrong of [
    { lr: -1 },
    { lr: Number.NaN },
    { beta1: 1 },
    { beta2: -0.1 },
    { eps: -1 },
    { weightDecay: Number.POSITIVE_INFINITY },
  ]) {
    expect(adamw(wrong)).toThrow(expect.objectContaining({ name: 'ArgumentError' }))
  }
  for (const wrong of [{ step: 0 }, { step: 1.5 }, { gradScale: Number.NaN }, { lr: undefined }]) {
    expect(adamw(wrong)).toThrow(expect.objectContaining({ name: 'ArgumentError' }))
  }
  expect(() => checkScale(host, t([2]), Number.NaN)).toThrow('scale: factor must be a finite number, got NaN')
  expect(() => checkCast(host, t([2]), 'i32')).toThrow('cast: dtype must be f32, f16 or bf16, got i32')
  expect(() => checkCast(host, t([2]), 'toString' as never)).toThrow('cast: dtype must be f32, f16 or bf16, got toString')
  expect(() => checkLayerNormForward(host, t([2, 3]), t([3]), t([3]), { eps: -1 })).toThrow('eps must be a finite number ≥ 0, got -1')
  expect(() => checkEmbeddingBackward(host, t([2, 4]), t([2], 'i32'), 2.5)).toThrow('vocabSize must be an integer ≥ 1, got 2.5')
  expect(() => checkRopeForward(host, t([1, 4, 1, 8]), t([6, 4]), t([6, 4]), { positionOffset: 3 })).toThrow(
    'cos must have a row for each of 4 + 3 positions',
  )
  expect(() => checkRopeForward(host, t([1, 4, 1, 7]), t([6, 4]), t([6, 4]))).toThrow('R/2 ≤ 3')
  expect(() => checkCrossEntropyForward(host, t([2, 0]), t([2], 'i32'))).toThrow('logits must be [R, V] with V ≥ 1')
})

test('rows is the product of the leading axes', () => {
  expect([rows([2, 3, 4]), rows([4]), rows([0, 4])]).toEqual([6, 1, 0])
})
