import type { AttentionOptions } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import { GradcheckError } from '../errors/gradcheck-error'
import { type GradcheckInput, gradcheck } from '../gradcheck'
import type { Tape } from '../tape'
import { input, normal } from '../test-inputs'
import type { Variable } from '../variable'

type Fn = (tape: Tape, ...inputs: Variable[]) => Variable

/** The identity with a gradient that is wrong in the sixth digit. */
function skewed(tape: Tape, x: Variable): Variable {
  return tape.custom('skewed', [x], {
    forward: (_, x) => x,
    backward: ({ backend }, dout) => [backend.kernels.scale(dout, 1 + 1e-6)],
  })
}

/** The gradients of `fn` are right, and the check is sharp enough to see an error of one part in a million in any of them. */
async function expectGradients(fn: Fn, inputs: GradcheckInput[]): Promise<void> {
  await gradcheck(fn, inputs)
  for (const i of inputs.keys()) {
    const wrong: Fn = (tape, ...vars) => fn(tape, ...vars.map((v, j) => (j === i ? skewed(tape, v) : v)))
    await expect(gradcheck(wrong, inputs)).rejects.toThrow(GradcheckError)
  }
}

const ints = (tape: Tape, data: number[], shape = [data.length]) => tape.backend.tensor(Int32Array.from(data), shape)

describe('attention', () => {
  const grid: { name: string; heads: [number, number]; lengths: [number, number]; dims: [number, number]; options: AttentionOptions }[] = [
    { name: 'default', heads: [2, 2], lengths: [3, 3], dims: [4, 4], options: {} },
    { name: 'causal', heads: [1, 1], lengths: [4, 4], dims: [3, 3], options: { causal: true } },
    { name: 'causal, longer keys', heads: [1, 1], lengths: [3, 5], dims: [3, 2], options: { causal: true } },
    { name: 'causal, longer queries, empty rows', heads: [1, 1], lengths: [5, 3], dims: [3, 3], options: { causal: true } },
    { name: 'causal top-left', heads: [1, 1], lengths: [3, 5], dims: [3, 3], options: { causal: true, causalAlign: 'top-left' } },
    { name: 'grouped queries', heads: [4, 2], lengths: [3, 3], dims: [2, 2], options: { causal: true } },
    { name: 'one key head', heads: [3, 1], lengths: [2, 3], dims: [2, 3], options: {} },
    { name: 'window', heads: [1, 1], lengths: [5, 5], dims: [2, 2], options: { windowSize: [1, 1] } },
    {
      name: 'causal window, softcap, scale',
      heads: [2, 1],
      lengths: [4, 5],
      dims: [3, 3],
      options: { causal: true, windowSize: [2, -1], softcap: 1.5, softmaxScale: 0.8 },
    },
  ]
  it.each(grid)('$name', async ({ heads: [nHeads, nHeadsK], lengths: [seqlenQ, seqlenK], dims: [headDim, headDimV], options }) => {
    await expectGradients(
      (tape, q, k, v) => tape.attention(q, k, v, options),
      [input([1, seqlenQ, nHeads, headDim], 1), input([1, seqlenK, nHeadsK, headDim], 2), input([1, seqlenK, nHeadsK, headDimV], 3)],
    )
  })

  const learnable = [
    ['alibiSlopes', [2]],
    ['alibiSlopes', [2, 2]],
    ['bias', [2, 2, 3, 4]],
    ['bias', [2, 1, 4]],
    ['bias', [4]],
    ['sink', [2]],
  ] as const
  const qkv = () => [input([2, 3, 2, 2], 1), input([2, 4, 1, 2], 2), input([2, 4, 1, 1], 3)]
  it.each(learnable)('%s %o', async (name, shape) => {
    const inputs = [...qkv(), input(shape, 4)]
    await expectGradients((tape, q, k, v, option) => tape.attention(q, k, v, { causal: true, softcap: 2, [name]: option }), inputs)
  })

  const dropout = { dropoutP: 0.3, seed: 2 ** 40 + 3 }
  const cuSeqlens = () => ({ cuSeqlensQ: Int32Array.of(0, 4, 4, 6), cuSeqlensK: Int32Array.of(0, 3, 5, 8) })
  const packedQkv = [input([6, 2, 2], 1), input([8, 1, 2], 2), input([8, 1, 1], 3)]
  const blockMask = (): AttentionOptions => {
    // One partial tile: query i sees key j unless i + j is divisible by 3.
    const bits = Int32Array.from({ length: 64 * 2 }, (_, word) => {
      const [i, first] = [word >> 1, (word & 1) * 32]
      return Array.from({ length: 32 }, (_, j) => j).reduce((sum, j) => sum | ((i + first + j) % 3 === 0 ? 0 : 1 << j), 0)
    })
    const tile = { offsets: Int32Array.of(0, 1), blocks: Int32Array.of(0), bits: Int32Array.of(0) }
    const sizes = { batchSize: 1, nHeads: 1, seqlenQ: 3, seqlenK: 4, blockM: 64, blockN: 64 }
    return {
      blockMask: {
        ...sizes,
        ...{ kvOffsets: tile.offsets, kvBlocks: tile.blocks, kvBits: tile.bits },
        ...{ qOffsets: tile.offsets, qBlocks: tile.blocks, qBits: tile.bits },
        bits,
      },
    }
  }
  it('dropout', () => expectGradients((tape, q, k, v) => tape.attention(q, k, v, dropout), qkv()))
  it('block mask', () => expectGradients((tape, q, k, v) => tape.attention(q, k, v, blockMask()), qkv()))
  it('variable lengths, changed afterwards', () =>
    expectGradients((tape, q, k, v) => {
      const lengths = cuSeqlens()
      const out = tape.attention(q, k, v, lengths)
      lengths.cuSeqlensQ.fill(0)
      lengths.cuSeqlensK.fill(0)
      return out
    }, packedQkv))
  it('all options together', () =>
    expectGradients(
      (tape, q, k, v, alibiSlopes, bias, sink) =>
        tape.attention(q, k, v, { ...dropout, ...blockMask(), softcap: 2, windowSize: [3, 1], alibiSlopes, bias, sink }),
      [...qkv(), input([2], 4), input([2, 1, 3, 4], 5), input([2], 6)],
    ))
  it('all options of variable lengths together', () =>
    expectGradients(
      (tape, q, k, v, alibiSlopes, sink) =>
        tape.attention(q, k, v, { ...dropout, ...cuSeqlens(), softcap: 2, causal: true, alibiSlopes, sink }),
      [...packedQkv, input([3, 2], 4), input([2], 5)],
    ))
  it('options used twice, in a checkpoint that runs again', () =>
    expectGradients(
      (tape, q, k, v, slopes, sink) =>
        tape.checkpoint(
          (q, k, v) => {
            const once = tape.attention(q, k, v, { alibiSlopes: slopes, sink, ...dropout })
            return tape.add(once, tape.attention(q, k, v, { alibiSlopes: slopes, sink: tape.scale(sink, 2) }))
          },
          q,
          k,
          v,
        ),
      [...qkv(), input([2], 4), input([2], 5)],
    ))
  it('tensors as options', () =>
    expectGradients((tape, q, k, v) => {
      const bias = tape.backend.tensor(normal(12, 7), [3, 4])
      return tape.checkpoint((q) => tape.attention(q, k, v, { bias, sink: tape.backend.tensor([1, -1], [2]) }), q)
    }, qkv()))

  it('over slices of one packed projection', async () => {
    const [seqlen, channels] = [3, 4]
    await expectGradients(
      (tape, qkv) => {
        const part = (i: number) =>
          tape.reshape(tape.slice(qkv, [0, 0, i * channels], [1, seqlen, (i + 1) * channels]), [1, seqlen, 2, channels / 2])
        return tape.attention(part(0), part(1), part(2), { causal: true })
      },
      [input([1, seqlen, 3 * channels])],
    )
  })
})

describe('matmul', () => {
  const [m, k, n] = [3, 4, 2]
  const leadings = [
    { name: 'matrices', a: [], b: [] },
    { name: 'b shared', a: [2, 2], b: [] },
    { name: 'batched', a: [2], b: [2] },
  ]
  const transposes = [
    { transposeA: false, transposeB: false },
    { transposeA: false, transposeB: true },
    { transposeA: true, transposeB: false },
    { transposeA: true, transposeB: true },
  ]
  const cases = leadings.flatMap((leading) => transposes.map((transpose) => ({ ...leading, ...transpose })))
  const operands = ({ a, b, transposeA, transposeB }: (typeof cases)[number]) => [
    input([...a, ...(transposeA ? [k, m] : [m, k])], 1),
    input([...b, ...(transposeB ? [n, k] : [k, n])], 2),
  ]

  it.each(cases)('$name, transposeA $transposeA, transposeB $transposeB', async (shape) => {
    const { transposeA, transposeB } = shape
    await expectGradients((tape, a, b) => tape.matmul(a, b, { transposeA, transposeB, alpha: 0.7 }), operands(shape))
  })

  it.each(cases)('$name, transposeA $transposeA, transposeB $transposeB, bias and gelu', async (shape) => {
    const { transposeA, transposeB } = shape
    await expectGradients(
      (tape, a, b, bias) => tape.matmul(a, b, { transposeA, transposeB, alpha: 1.3, bias: bias, activation: 'gelu' }),
      [...operands(shape), input([n], 3)],
    )
  })

  it('of strided operands', async () => {
    await expectGradients(
      (tape, a, b) =>
        tape.matmul(tape.slice(a, [0, 1], [2, 3]), tape.slice(b, [0, 1], [4, 3]), { bias: tape.slice(tape.reshape(b, [12]), [5], [7]) }),
      [input([2, 4, 4], 1), input([4, 3], 2)],
    )
  })
})

describe('norms, activations, softmax', () => {
  it('layerNorm', () =>
    expectGradients((tape, x, w, b) => tape.layerNorm(x, w, b, { eps: 1e-3 }), [input([2, 3, 5]), input([5], 2), input([5], 3)]))
  it('rmsNorm', () => expectGradients((tape, x, w) => tape.rmsNorm(x, w, { eps: 1e-3 }), [input([2, 3, 5]), input([5], 2)]))
  it('gelu', () => expectGradients((tape, x) => tape.gelu(x), [input([3, 5])]))
  it('swiglu', () => expectGradients((tape, gate, up) => tape.swiglu(gate, up), [input([3, 4], 1), input([3, 4], 2)]))
  it('softmax', () => expectGradients((tape, x) => tape.softmax(x), [input([2, 3, 4])]))
  it('softmax, scaled and causal', () => expectGradients((tape, x) => tape.softmax(x, { scale: 0.7, causal: true }), [input([2, 3, 4])]))
  it('softmax, causal with empty rows', () => expectGradients((tape, x) => tape.softmax(x, { causal: true }), [input([4, 2])]))
})

describe('embedding and rope', () => {
  it('embedding with repeated and absent tokens', () =>
    expectGradients((tape, weight) => tape.embedding(ints(tape, [3, 0, 3, 1, 3, 0], [2, 3]), weight), [input([5, 3])]))

  it.each([0, 2])('rope at offset %i, with dims that pass through', async (positionOffset) => {
    const angles = normal(5 * 2, 9)
    await expectGradients(
      (tape, x) => {
        const cos = tape.backend.tensor(angles.map(Math.cos), [5, 2])
        const sin = tape.backend.tensor(angles.map(Math.sin), [5, 2])
        return tape.rope(x, cos, sin, { positionOffset })
      },
      [input([2, 3, 2, 5])],
    )
  })
})

describe('cross-entropies', () => {
  it.each([
    [[1, 2, 0, -100], {}],
    [[1, 2, 0, 1], { ignoreIndex: 2 }],
  ])('crossEntropy of targets %o, %o', (targets, options) =>
    expectGradients((tape, logits) => tape.crossEntropy(logits, ints(tape, targets), options), [input([4, 3])]),
  )
  it.each([
    [[1, 2, 0, -100], {}],
    [[1, 2, 4, 1], { ignoreIndex: 2 }],
  ])('linearCrossEntropy of targets %o, %o', (targets, options) =>
    expectGradients((tape, x, w) => tape.linearCrossEntropy(x, w, ints(tape, targets), options), [input([4, 3], 1), input([5, 3], 2)]),
  )
})

describe('pointwise and views', () => {
  it('add', () => expectGradients((tape, a, b) => tape.add(a, b), [input([2, 3], 1), input([2, 3], 2)]))
  it('add of a variable to itself', () => expectGradients((tape, a) => tape.add(a, a), [input([2, 3])]))
  it('scale', () => expectGradients((tape, x) => tape.scale(x, -1.7), [input([2, 3])]))
  it('copy', () => expectGradients((tape, x) => tape.copy(x), [input([2, 3])]))
  it('reshape', () => expectGradients((tape, x) => tape.gelu(tape.reshape(x, [3, -1])), [input([2, 3, 2])]))
  it('permute of the last axis', () => expectGradients((tape, x) => tape.gelu(tape.copy(tape.permute(x, [2, 0, 1]))), [input([2, 3, 2])]))
  it('reshape of a permuted gradient', () =>
    expectGradients((tape, x) => tape.gelu(tape.permute(tape.reshape(x, [2, 3, 2]), [1, 0, 2])), [input([12])]))
  it('slice', () => expectGradients((tape, x) => tape.gelu(tape.slice(x, [1], [2])), [input([3, 2])]))
  it('slices that overlap, between uses of the whole', () =>
    expectGradients(
      (tape, x) => {
        const before = tape.slice(tape.gelu(x), [0, 1], [2, 3])
        const left = tape.slice(x, [0, 0], [2, 2])
        const right = tape.slice(x, [0, 1], [2, 3])
        const row = tape.slice(x, [1, 0], [2, 4])
        const after = tape.matmul(row, x, { transposeB: true })
        return tape.matmul(tape.matmul(after, tape.swiglu(left, right)), before)
      },
      [input([2, 4])],
    ))
})

describe('weights used more than once', () => {
  it('tied embedding and head', () =>
    expectGradients(
      (tape, wte, hidden) => {
        const x = tape.reshape(tape.embedding(ints(tape, [1, 0, 2]), wte), [3, 4])
        const h = tape.gelu(tape.matmul(x, hidden))
        return tape.linearCrossEntropy(h, wte, ints(tape, [0, 2, 3]))
      },
      [input([5, 4], 1), input([4, 4], 2)],
    ))

  it('one weight in every place of a block', () =>
    expectGradients(
      (tape, x, w) => {
        const h = tape.matmul(x, w, { bias: tape.reshape(tape.slice(w, [0], [1]), [3]), activation: 'gelu' })
        const n = tape.layerNorm(h, tape.reshape(tape.slice(w, [1], [2]), [3]), tape.reshape(tape.slice(w, [2], [3]), [3]))
        return tape.rmsNorm(tape.add(x, tape.matmul(n, w, { transposeB: true })), tape.reshape(tape.slice(w, [1], [2]), [3]))
      },
      [input([2, 3], 1), input([3, 3], 2)],
    ))
})
