import type { Backend, Kernels, Tensor } from '@tilegrad/tensor'
import { ATTENTION_MISUSES } from './attention/misuse'
import type { ConformanceCase } from './conformance-case'
import { type ErrorName, expectError } from './expect-error'

/** A tensor of f32 zeros, or of `dtype`. It is disposed after the case. */
export type Make = (shape: readonly number[], dtype?: 'f32' | 'f16' | 'i32') => Tensor

export type Misuse = readonly [name: string, error: ErrorName, call: (kernels: Kernels, make: Make) => unknown]

/** Wrong arguments: each gets its typed error before any work is enqueued, and nothing leaks. */
export function misuseCases(): ConformanceCase[] {
  const cases = [...MISUSES, ...ATTENTION_MISUSES].map(([name, error, call]) => ({
    group: 'misuse',
    name,
    run: (backend: Backend) => misuse(backend, error, call),
  }))
  return [...cases, ...['disposed', 'of another backend'].map(lifetimeCase)]
}

async function misuse(backend: Backend, error: ErrorName, call: Misuse[2]): Promise<void> {
  const bytes = backend.memory().bytes
  const made: Tensor[] = []
  const make: Make = (shape, dtype) => {
    const tensor = backend.zeros(shape, dtype)
    made.push(tensor)
    return tensor
  }
  try {
    expectError(error, () => call(backend.kernels, make))
  } finally {
    for (const tensor of made) tensor.dispose()
  }
  await backend.sync()
  if (backend.memory().bytes !== bytes) throw new Error(`${backend.memory().bytes - bytes} bytes are still held after a refused call`)
}

const ADAMW = { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0, step: 1 }

const attention = (kernels: Kernels, make: Make, options: object) =>
  kernels.attentionForward(make([1, 2, 2, 8]), make([1, 3, 1, 8]), make([1, 3, 1, 4]), options)

const MISUSES: readonly Misuse[] = [
  ['attention: a misspelt option', 'ArgumentError', (k, t) => attention(k, t, { casual: true })],
  ['attention: softmaxScale NaN', 'ArgumentError', (k, t) => attention(k, t, { softmaxScale: Number.NaN })],
  ['attention: softcap 0', 'ArgumentError', (k, t) => attention(k, t, { softcap: 0 })],
  ['attention: windowSize of fractions', 'ArgumentError', (k, t) => attention(k, t, { windowSize: [1.5, 0] })],
  ['attention: windowSize below −1', 'ArgumentError', (k, t) => attention(k, t, { windowSize: [0, -2] })],
  ['attention: unknown causalAlign', 'ArgumentError', (k, t) => attention(k, t, { causalAlign: 'top' })],
  ['attention: q of three axes', 'ShapeError', (k, t) => k.attentionForward(t([2, 2, 8]), t([1, 3, 1, 8]), t([1, 3, 1, 8]))],
  ['attention: head dims differ', 'ShapeError', (k, t) => k.attentionForward(t([1, 2, 2, 8]), t([1, 3, 1, 9]), t([1, 3, 1, 8]))],
  ['attention: batches differ', 'ShapeError', (k, t) => k.attentionForward(t([2, 2, 2, 8]), t([1, 3, 1, 8]), t([1, 3, 1, 8]))],
  ['attention: lengths of k and v differ', 'ShapeError', (k, t) => k.attentionForward(t([1, 2, 2, 8]), t([1, 3, 1, 8]), t([1, 4, 1, 8]))],
  ['attention: 3 heads over 2', 'ShapeError', (k, t) => k.attentionForward(t([1, 2, 3, 8]), t([1, 3, 2, 8]), t([1, 3, 2, 8]))],
  ['attention: head dim 257', 'ShapeError', (k, t) => k.attentionForward(t([1, 2, 1, 257]), t([1, 2, 1, 257]), t([1, 2, 1, 8]))],
  ['attention: mixed dtypes', 'DTypeError', (k, t) => k.attentionForward(t([1, 2, 1, 8]), t([1, 2, 1, 8], 'f16'), t([1, 2, 1, 8]))],
  [
    'attention: integers',
    'DTypeError',
    (k, t) => k.attentionForward(t([1, 2, 1, 8], 'i32'), t([1, 2, 1, 8], 'i32'), t([1, 2, 1, 8], 'i32')),
  ],
  [
    'attention: last axis not contiguous',
    'ShapeError',
    (k, t) => {
      const x = t([1, 8, 2, 4])
      const q = x.permute([0, 1, 3, 2])
      try {
        return k.attentionForward(q, t([1, 3, 4, 2]), t([1, 3, 4, 2]))
      } finally {
        q.dispose()
      }
    },
  ],
  [
    'attention backward: lse of the wrong shape',
    'ShapeError',
    (k, t) => k.attentionBackward(t([1, 2, 2, 4]), t([1, 2, 2, 8]), t([1, 3, 1, 8]), t([1, 3, 1, 4]), t([1, 2, 2, 4]), t([1, 2, 3])),
  ],
  [
    'attention backward: dout of the wrong shape',
    'ShapeError',
    (k, t) => k.attentionBackward(t([1, 2, 2, 8]), t([1, 2, 2, 8]), t([1, 3, 1, 8]), t([1, 3, 1, 4]), t([1, 2, 2, 4]), t([1, 2, 2])),
  ],
  ['matmul: inner sizes differ', 'ShapeError', (k, t) => k.matmul(t([2, 3]), t([4, 5]))],
  ['matmul: inner sizes differ once b is transposed', 'ShapeError', (k, t) => k.matmul(t([2, 3]), t([3, 5]), { transposeB: true })],
  ['matmul: batches differ', 'ShapeError', (k, t) => k.matmul(t([2, 2, 3]), t([3, 3, 5]))],
  ['matmul: a vector', 'ShapeError', (k, t) => k.matmul(t([3]), t([3, 5]))],
  ['matmul: bias of the wrong length', 'ShapeError', (k, t) => k.matmul(t([2, 3]), t([3, 5]), { bias: t([2]) })],
  [
    'matmul: accumulateInto with bias',
    'ArgumentError',
    (k, t) => k.matmul(t([2, 3]), t([3, 5]), { bias: t([5]), accumulateInto: t([2, 5]) }),
  ],
  ['matmul: accumulateInto of the wrong shape', 'ShapeError', (k, t) => k.matmul(t([2, 3]), t([3, 5]), { accumulateInto: t([5, 2]) })],
  ['matmul: unknown activation', 'ArgumentError', (k, t) => k.matmul(t([2, 3]), t([3, 5]), { activation: 'relu' as never })],
  ['matmul: alpha NaN', 'ArgumentError', (k, t) => k.matmul(t([2, 3]), t([3, 5]), { alpha: Number.NaN })],
  ['sumRows: accumulateInto of the wrong shape', 'ShapeError', (k, t) => k.sumRows(t([2, 3]), { accumulateInto: t([2]) })],
  ['layerNorm: weight of the wrong length', 'ShapeError', (k, t) => k.layerNormForward(t([2, 3]), t([2]), t([3]))],
  ['layerNorm: eps < 0', 'ArgumentError', (k, t) => k.layerNormForward(t([2, 3]), t([3]), t([3]), { eps: -1 })],
  [
    'layerNorm backward: mean of the wrong shape',
    'ShapeError',
    (k, t) => k.layerNormBackward(t([2, 3]), t([2, 3]), t([3]), t([3]), t([2])),
  ],
  ['rmsNorm: eps NaN', 'ArgumentError', (k, t) => k.rmsNormForward(t([2, 3]), t([3]), { eps: Number.NaN })],
  ['rmsNorm backward: dout of the wrong shape', 'ShapeError', (k, t) => k.rmsNormBackward(t([3, 2]), t([2, 3]), t([3]), t([2]))],
  ['softmax: a scalar', 'ShapeError', (k, t) => k.softmaxForward(t([]))],
  ['softmax: infinite scale', 'ArgumentError', (k, t) => k.softmaxForward(t([2, 3]), { scale: Number.POSITIVE_INFINITY })],
  ['softmax backward: shapes differ', 'ShapeError', (k, t) => k.softmaxBackward(t([2, 3]), t([3, 2]))],
  ['gelu: integers', 'DTypeError', (k, t) => k.geluForward(t([2], 'i32'))],
  ['gelu: out of the wrong shape', 'ShapeError', (k, t) => k.geluForward(t([2]), { out: t([3]) })],
  ['gelu: out of the wrong dtype', 'DTypeError', (k, t) => k.geluForward(t([2]), { out: t([2], 'f16') })],
  [
    'gelu: out not contiguous',
    'ShapeError',
    (k, t) => {
      const out = t([2, 3]).slice([0, 0], [2, 2])
      try {
        return k.geluForward(t([2, 2]), { out })
      } finally {
        out.dispose()
      }
    },
  ],
  ['gelu backward: shapes differ', 'ShapeError', (k, t) => k.geluBackward(t([2]), t([3]))],
  ['swiglu: shapes differ', 'ShapeError', (k, t) => k.swigluForward(t([2, 3]), t([3, 2]))],
  ['swiglu backward: shapes differ', 'ShapeError', (k, t) => k.swigluBackward(t([3]), t([2]), t([2]))],
  ['embedding: float tokens', 'DTypeError', (k, t) => k.embeddingForward(t([2]), t([3, 4]))],
  ['embedding: weight of three axes', 'ShapeError', (k, t) => k.embeddingForward(t([2], 'i32'), t([3, 4, 1]))],
  ['embedding backward: dout does not fit tokens', 'ShapeError', (k, t) => k.embeddingBackward(t([3, 4]), t([2], 'i32'), 5)],
  ['embedding backward: vocabSize 0', 'ArgumentError', (k, t) => k.embeddingBackward(t([2, 4]), t([2], 'i32'), 0)],
  ['rope: too few positions', 'ShapeError', (k, t) => k.ropeForward(t([1, 4, 1, 8]), t([5, 4]), t([5, 4]), { positionOffset: 2 })],
  ['rope: turns more dims than there are', 'ShapeError', (k, t) => k.ropeForward(t([1, 4, 1, 8]), t([4, 5]), t([4, 5]))],
  ['rope: negative offset', 'ArgumentError', (k, t) => k.ropeForward(t([1, 4, 1, 8]), t([5, 4]), t([5, 4]), { positionOffset: -1 })],
  ['rope backward: cos and sin differ', 'ShapeError', (k, t) => k.ropeBackward(t([1, 4, 1, 8]), t([5, 4]), t([4, 4]))],
  ['crossEntropy: float targets', 'DTypeError', (k, t) => k.crossEntropyForward(t([2, 3]), t([2]))],
  ['crossEntropy: targets of the wrong length', 'ShapeError', (k, t) => k.crossEntropyForward(t([2, 3]), t([3], 'i32'))],
  [
    'crossEntropy: fractional ignoreIndex',
    'ArgumentError',
    (k, t) => k.crossEntropyForward(t([2, 3]), t([2], 'i32'), { ignoreIndex: 0.5 }),
  ],
  ['crossEntropy backward: dloss not a scalar', 'ShapeError', (k, t) => k.crossEntropyBackward(t([1]), t([2, 3]), t([2], 'i32'), t([2]))],
  ['linearCrossEntropy: channels differ', 'ShapeError', (k, t) => k.linearCrossEntropyForward(t([2, 3]), t([5, 4]), t([2], 'i32'))],
  [
    'linearCrossEntropy backward: dweightInto of the wrong shape',
    'ShapeError',
    (k, t) => k.linearCrossEntropyBackward(t([]), t([2, 3]), t([5, 3]), t([2], 'i32'), t([2]), { dweightInto: t([3, 5]) }),
  ],
  ['add: shapes differ', 'ShapeError', (k, t) => k.add(t([2]), t([1]))],
  ['scale: NaN', 'ArgumentError', (k, t) => k.scale(t([2]), Number.NaN)],
  ['cast: to i32', 'DTypeError', (k, t) => k.cast(t([2]), 'i32')],
  ['copy: out of the wrong shape', 'ShapeError', (k, t) => k.copy(t([2, 3]), { out: t([3, 2]) })],
  ['copy: out of the wrong dtype', 'DTypeError', (k, t) => k.copy(t([2]), { out: t([2], 'i32') })],
  ['adamwStep: step 0', 'ArgumentError', (k, t) => k.adamwStep(t([2]), t([2]), t([2]), t([2]), { ...ADAMW, step: 0 })],
  ['adamwStep: lr NaN', 'ArgumentError', (k, t) => k.adamwStep(t([2]), t([2]), t([2]), t([2]), { ...ADAMW, lr: Number.NaN })],
  ['adamwStep: beta1 = 1', 'ArgumentError', (k, t) => k.adamwStep(t([2]), t([2]), t([2]), t([2]), { ...ADAMW, beta1: 1 })],
  ['adamwStep: shapes differ', 'ShapeError', (k, t) => k.adamwStep(t([2]), t([2]), t([3]), t([2]), ADAMW)],
  ['sumSquares: integers', 'DTypeError', (k, t) => k.sumSquares(t([2], 'i32'))],
  ['a number for a tensor', 'ArgumentError', (k) => k.geluForward(3 as never)],
]

/** Calls of every kernel, each with tensors that only their lifetime or owner rules out. */
function everyKernel(k: Kernels, x: Make): (() => unknown)[] {
  const [q, lse, row, rows, i32, scalar, cos] = [x([1, 2, 1, 4]), x([1, 1, 2]), x([4]), x([2, 4]), x([2], 'i32'), x([]), x([2, 2])] as const
  const stat = x([2])
  return [
    () => k.attentionForward(q, q, q),
    () => k.attentionBackward(q, q, q, q, q, lse),
    () => k.attentionRows(q, q, lse, [0]),
    () => k.attentionColumnSums(q, q, lse),
    () => k.attentionTopK(q, q, lse, 1),
    () => k.matmul(rows, rows, { transposeB: true }),
    () => k.sumRows(rows),
    () => k.layerNormForward(rows, row, row),
    () => k.layerNormBackward(rows, rows, row, stat, stat),
    () => k.rmsNormForward(rows, row),
    () => k.rmsNormBackward(rows, rows, row, stat),
    () => k.softmaxForward(rows),
    () => k.softmaxBackward(rows, rows),
    () => k.geluForward(rows),
    () => k.geluBackward(rows, rows),
    () => k.swigluForward(rows, rows),
    () => k.swigluBackward(rows, rows, rows),
    () => k.embeddingForward(i32, rows),
    () => k.embeddingBackward(rows, i32, 3),
    () => k.ropeForward(q, cos, cos),
    () => k.ropeBackward(q, cos, cos),
    () => k.crossEntropyForward(rows, i32),
    () => k.crossEntropyBackward(scalar, rows, i32, stat),
    () => k.linearCrossEntropyForward(rows, rows, i32),
    () => k.linearCrossEntropyBackward(scalar, rows, rows, i32, stat),
    () => k.add(rows, rows),
    () => k.scale(rows, 2),
    () => k.cast(rows, 'f16'),
    () => k.copy(rows),
    () => k.adamwStep(rows, rows, rows, rows, ADAMW),
    () => k.sumSquares(rows),
  ]
}

function lifetimeCase(what: string): ConformanceCase {
  return {
    group: 'misuse',
    name: `every kernel, given tensors that are ${what}`,
    async run(backend, oracle) {
      const bytes = backend.memory().bytes
      const disposed = what === 'disposed'
      const from = disposed ? backend : oracle.naive
      const made: Tensor[] = []
      const calls = everyKernel(backend.kernels, (shape, dtype) => {
        const tensor = from.zeros(shape, dtype)
        made.push(tensor)
        return tensor
      })
      if (disposed) for (const tensor of made) tensor.dispose()
      try {
        for (const call of calls) expectError(disposed ? 'DisposedError' : 'BackendMismatchError', call)
      } finally {
        for (const tensor of made) tensor.dispose()
      }
      await backend.sync()
      if (backend.memory().bytes !== bytes) throw new Error(`${backend.memory().bytes - bytes} bytes are still held after refused calls`)
    },
  }
}
