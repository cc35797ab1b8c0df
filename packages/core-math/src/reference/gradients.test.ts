import type { Backend, Kernels, Tensor } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
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

const attention = (options: Parameters<Kernels['attentionForward']>[3], heads = 2, seqlenK = 4): Case => ({
  name: `attention ${JSON.stringify(options)} heads ${heads} keys ${seqlenK}`,
  shapes: [
    [2, 3, heads, 3],
    [2, seqlenK, 2, 3],
    [2, seqlenK, 2, 2],
  ],
  forward: (k, [q, key, v]) => k.attentionForward(q as Tensor, key as Tensor, v as Tensor, options).out,
  backward(k, dout, [q, key, v]) {
    const { out, lse } = k.attentionForward(q as Tensor, key as Tensor, v as Tensor, options)
    const { dq, dk, dv } = k.attentionBackward(dout, q as Tensor, key as Tensor, v as Tensor, out, lse, options)
    return [dq, dk, dv]
  },
})

const cases: Case[] = [
  attention({}),
  attention({ causal: true }),
  attention({ causal: true, causalAlign: 'top-left' }, 4),
  attention({ windowSize: [1, 0], softmaxScale: 0.9 }, 4),
  attention({ softcap: 0.8 }, 6),
  attention({ causal: true, softcap: 2, windowSize: [2, -1] }, 2, 2),
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

/** The single element of a reference tensor, at once. */
function elementOf(tensor: Tensor): number {
  return (tensor as unknown as { storage: { data: Float64Array } }).storage.data[0] as number
}
