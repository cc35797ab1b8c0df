import type { AttentionOptions, Backend, Kernels, LearnableAttentionOption, Tensor } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import { blockMaskOf } from '../block-mask.testing'
import { PhiloxStream } from '../philox'
import { createReferenceBackend } from './backend'
import { finiteDifferences } from './finite-differences'

interface Case {
  readonly name: string
  /** Shapes of the inputs that are differentiated. */
  readonly shapes: readonly (readonly number[])[]
  forward(k: Kernels, x: Tensor[], backend: Backend): Tensor
  /** Gradients of the inputs, in order. */
  backward(k: Kernels, dout: Tensor, x: Tensor[], backend: Backend): Tensor[]
}

const tokens = (backend: Backend) => backend.tensor(Int32Array.of(2, 0, 2, -1, 7), [5])
const targets = (backend: Backend) => backend.tensor(Int32Array.of(2, 0, -100, 3), [4])
const angles = (backend: Backend, f: (x: number) => number) =>
  backend.tensor(
    Array.from({ length: 12 }, (_, n) => f(n * 0.7)),
    [6, 2],
  )

type Learnable = Partial<Record<LearnableAttentionOption, readonly number[]>>

/** Attention as a function of q, k, v and the options that are tensors, given by their shapes. */
const attention = (options: AttentionOptions, sizes: { heads?: number; seqlenK?: number; learn?: Learnable } = {}): Case => {
  const { heads = 2, seqlenK = 4, learn = {} } = sizes
  const names = Object.keys(learn) as LearnableAttentionOption[]
  const all = (x: Tensor[]): AttentionOptions => ({ ...options, ...Object.fromEntries(names.map((name, n) => [name, x[3 + n]])) })
  const packed = options.cuSeqlensQ !== undefined
  const { blockMask, cuSeqlensQ, ...rest } = options
  return {
    name: `attention ${JSON.stringify({ ...rest, ...learn })} ${packed ? 'packed ' : ''}${blockMask ? 'block mask ' : ''}heads ${heads} keys ${seqlenK}`,
    shapes: [
      packed ? [6, heads, 3] : [2, 3, heads, 3],
      packed ? [2 * seqlenK, 2, 3] : [2, seqlenK, 2, 3],
      packed ? [2 * seqlenK, 2, 2] : [2, seqlenK, 2, 2],
      ...Object.values(learn),
    ],
    forward: (k, x) => k.attentionForward(x[0] as Tensor, x[1] as Tensor, x[2] as Tensor, all(x)).out,
    backward(k, dout, x) {
      const [q, key, v] = x as [Tensor, Tensor, Tensor]
      const { out, lse } = k.attentionForward(q, key, v, all(x))
      const gradients = k.attentionBackward(dout, q, key, v, out, lse, all(x))
      return [gradients.dq, gradients.dk, gradients.dv, ...names.map((name) => gradients[`d${name}`] as Tensor)]
    },
  }
}

const blockMask = blockMaskOf((b, h, i, j) => (b + h + i + 2 * j) % 3 !== 0, {
  batchSize: 2,
  nHeads: 2,
  seqlenQ: 3,
  seqlenK: 4,
  blockM: 64,
  blockN: 64,
})
// Lengths 4 and 0 and 2 of queries, 3 and 2 and 3 of keys.
const cuSeqlens = { cuSeqlensQ: Int32Array.of(0, 4, 4, 6), cuSeqlensK: Int32Array.of(0, 3, 5, 8) }
const dropout = { dropoutP: 0.4, seed: 5 * 2 ** 32 + 7 }

const cases: Case[] = [
  attention({}),
  attention({ causal: true }),
  attention({ causal: true, causalAlign: 'top-left' }, { heads: 4 }),
  attention({ windowSize: [1, 0], softmaxScale: 0.9 }, { heads: 4 }),
  attention({ softcap: 0.8 }, { heads: 6 }),
  attention({ causal: true, softcap: 2, windowSize: [2, -1] }, { seqlenK: 2 }),
  attention({}, { learn: { alibiSlopes: [2] } }),
  attention({ causal: true }, { learn: { alibiSlopes: [2, 4] }, heads: 4 }),
  attention({}, { learn: { bias: [2, 2, 3, 4] } }),
  attention({}, { learn: { bias: [3, 1] } }),
  attention({ causal: true }, { learn: { bias: [2, 1, 1, 4] } }),
  attention({}, { learn: { sink: [2] } }),
  attention({ causal: true }, { learn: { sink: [2] }, seqlenK: 1 }),
  attention(dropout),
  attention({ blockMask }),
  attention(cuSeqlens),
  attention({ ...cuSeqlens, ...dropout, causal: true, softcap: 1.1 }, { learn: { alibiSlopes: [3, 2], sink: [2] } }),
  attention({ ...dropout, blockMask, softcap: 1.2, windowSize: [2, 1] }, { learn: { alibiSlopes: [2], bias: [2, 3, 1], sink: [2] } }),
  {
    name: 'matmul with bias',
    shapes: [
      [2, 3, 4],
      [4, 5],
    ],
    forward: (k, [a, b]) => k.matmul(a as Tensor, b as Tensor, { alpha: 1.5 }),
    backward: (k, dout, [a, b]) => [
      k.matmul(dout, b as Tensor, { transposeB: true, alpha: 1.5 }),
      k.matmul((a as Tensor).reshape([6, 4]), dout.reshape([6, 5]), { transposeA: true, alpha: 1.5 }),
    ],
  },
  {
    name: 'sumRows as the gradient of a bias',
    shapes: [[5]],
    forward: (k, [bias], backend) => k.matmul(backend.zeros([3, 2]), backend.zeros([2, 5]), { bias: bias as Tensor }),
    backward: (k, dout) => [k.sumRows(dout)],
  },
  {
    name: 'layerNorm',
    shapes: [[2, 3, 5], [5], [5]],
    forward: (k, [x, w, b]) => k.layerNormForward(x as Tensor, w as Tensor, b as Tensor, { eps: 0.1 }).out,
    backward(k, dout, [x, w, b]) {
      const { mean, rstd } = k.layerNormForward(x as Tensor, w as Tensor, b as Tensor, { eps: 0.1 })
      const { dx, dweight, dbias } = k.layerNormBackward(dout, x as Tensor, w as Tensor, mean, rstd)
      return [dx, dweight, dbias]
    },
  },
  {
    name: 'rmsNorm',
    shapes: [[2, 3, 5], [5]],
    forward: (k, [x, w]) => k.rmsNormForward(x as Tensor, w as Tensor, { eps: 0.1 }).out,
    backward(k, dout, [x, w]) {
      const { rstd } = k.rmsNormForward(x as Tensor, w as Tensor, { eps: 0.1 })
      const { dx, dweight } = k.rmsNormBackward(dout, x as Tensor, w as Tensor, rstd)
      return [dx, dweight]
    },
  },
  {
    name: 'softmax',
    shapes: [[2, 4, 3]],
    forward: (k, [x]) => k.softmaxForward(x as Tensor, { scale: 0.7, causal: true }),
    backward: (k, dout, [x]) => [k.softmaxBackward(dout, k.softmaxForward(x as Tensor, { scale: 0.7, causal: true }), { scale: 0.7 })],
  },
  {
    name: 'gelu',
    shapes: [[7]],
    forward: (k, [x]) => k.geluForward(x as Tensor),
    backward: (k, dout, [x]) => [k.geluBackward(dout, x as Tensor)],
  },
  {
    name: 'swiglu',
    shapes: [
      [2, 3],
      [2, 3],
    ],
    forward: (k, [gate, up]) => k.swigluForward(gate as Tensor, up as Tensor),
    backward(k, dout, [gate, up]) {
      const { dgate, dup } = k.swigluBackward(dout, gate as Tensor, up as Tensor)
      return [dgate, dup]
    },
  },
  {
    name: 'embedding',
    shapes: [[4, 3]],
    forward: (k, [weight], backend) => k.embeddingForward(tokens(backend), weight as Tensor),
    backward: (k, dout, _, backend) => [k.embeddingBackward(dout, tokens(backend), 4)],
  },
  {
    name: 'rope',
    shapes: [[2, 3, 2, 5]],
    forward: (k, [x], backend) => k.ropeForward(x as Tensor, angles(backend, Math.cos), angles(backend, Math.sin), { positionOffset: 2 }),
    backward: (k, dout, _, backend) => [k.ropeBackward(dout, angles(backend, Math.cos), angles(backend, Math.sin), { positionOffset: 2 })],
  },
  {
    name: 'crossEntropy',
    shapes: [[4, 5]],
    forward: (k, [logits], backend) => k.crossEntropyForward(logits as Tensor, targets(backend)).loss,
    backward(k, dloss, [logits], backend) {
      const { lse } = k.crossEntropyForward(logits as Tensor, targets(backend))
      return [k.crossEntropyBackward(dloss, logits as Tensor, targets(backend), lse)]
    },
  },
  {
    name: 'linearCrossEntropy',
    shapes: [
      [4, 3],
      [5, 3],
    ],
    forward: (k, [x, weight], backend) => k.linearCrossEntropyForward(x as Tensor, weight as Tensor, targets(backend)).loss,
    backward(k, dloss, [x, weight], backend) {
      const { lse } = k.linearCrossEntropyForward(x as Tensor, weight as Tensor, targets(backend))
      const { dx, dweight } = k.linearCrossEntropyBackward(dloss, x as Tensor, weight as Tensor, targets(backend), lse)
      return [dx, dweight]
    },
  },
]

describe('gradients of the reference kernels', () => {
  it.each(cases)('$name agrees with finite differences', async ({ shapes, forward, backward }) => {
    const backend = createReferenceBackend()
    const random = new PhiloxStream(1)
    const normals = (shape: readonly number[]) => Float64Array.from({ length: shape.reduce((n, s) => n * s, 1) }, () => random.nextNormal())
    const data = shapes.map(normals)
    const inputs = () => data.map((x, i) => backend.tensor(x, shapes[i] as number[]))
    const outShape = forward(backend.kernels, inputs(), backend).shape
    const weights = normals(outShape)

    // The reference computes within the call, so f(x) = Σ weights∘forward(x) can be had without waiting.
    const loss = () => {
      const flat = forward(backend.kernels, inputs(), backend).reshape([weights.length, 1])
      const sum = backend.kernels.matmul(backend.tensor(weights, [1, weights.length]), flat)
      return elementOf(sum)
    }
    const gradients = backward(backend.kernels, backend.tensor(weights, outShape), inputs(), backend)
    expect(gradients).toHaveLength(shapes.length)
    for (const [i, gradient] of gradients.entries()) {
      expect(gradient.shape).toEqual(shapes[i])
      const expected = finiteDifferences(loss, data[i] as Float64Array)
      const got = await gradient.read()
      expected.forEach(({ value, error }, at) => {
        expect(Math.abs((got[at] as number) - value), `input ${i} element ${at}`).toBeLessThanOrEqual(error)
      })
    }
    await backend.dispose()
  })
})

describe('gradients of attention', () => {
  const backend = createReferenceBackend()
  const { kernels } = backend
  const wave = (shape: readonly number[]) =>
    backend.tensor(
      Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, n) => Math.sin(1 + n * n)),
      shape,
    )
  const x = wave([1, 3, 2, 2])

  it('are given for the options that are asked for', () => {
    const options = { alibiSlopes: wave([2]), bias: wave([3, 3]), sink: wave([2]) }
    const { out, lse } = kernels.attentionForward(x, x, x, options)
    const keys = (optionGradients?: LearnableAttentionOption[]) =>
      Object.keys(kernels.attentionBackward(x, x, x, x, out, lse, { ...options, ...(optionGradients && { optionGradients }) }))
    expect(keys()).toEqual(['dq', 'dk', 'dv', 'dalibiSlopes', 'dbias', 'dsink'])
    expect(keys(['sink'])).toEqual(['dq', 'dk', 'dv', 'dsink'])
    expect(keys([])).toEqual(['dq', 'dk', 'dv'])
  })

  it('are 0 where a bias of −∞ hides a pair, a whole row included', async () => {
    const hidden = Number.NEGATIVE_INFINITY
    const bias = backend.tensor([0, hidden, 1, hidden, hidden, hidden, 2, 1, hidden], [3, 3])
    const { out, lse } = kernels.attentionForward(x, x, x, { bias })
    const { dq, dbias } = kernels.attentionBackward(x, x, x, x, out, lse, { bias })
    expect([...(await lse.read())].map(Number.isFinite)).toEqual([true, false, true, true, false, true])
    expect([...(await dq.read()).slice(4, 8)]).toEqual([0, 0, 0, 0])
    const values = [...((await dbias?.read()) ?? [])]
    expect([1, 3, 4, 5, 8].map((n) => values[n])).toEqual([0, 0, 0, 0, 0])
    expect([0, 2, 6, 7].every((n) => values[n] !== 0 && Number.isFinite(values[n]))).toBe(true)
  })
})

/** The single element of a reference tensor, at once. */
function elementOf(tensor: Tensor): number {
  return (tensor as unknown as { storage: { data: Float64Array } }).storage.data[0] as number
}
