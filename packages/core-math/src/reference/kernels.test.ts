import type { Backend, Tensor } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import { bf16BitsToF32, f16BitsToF32, f32ArrayToBF16Bits, f32ArrayToF16Bits } from '../half'
import { PhiloxStream } from '../philox'
import { createReferenceBackend } from './backend'
import type { Precision } from './reference'

const random = new PhiloxStream(7)
const normals = (n: number) => Array.from({ length: n }, () => random.nextNormal())
const f64 = createReferenceBackend()
const { kernels: k } = f64
const t = (data: readonly number[], shape: readonly number[], backend: Backend = f64) => backend.tensor(data, shape)
const i32 = (data: readonly number[], backend: Backend = f64) => backend.tensor(Int32Array.from(data), [data.length])
const sum = (x: readonly number[]) => x.reduce((a, b) => a + b, 0)

/** Equal but for the rounding of sums of a few terms in another order. */
async function expectValues(got: Tensor, shape: readonly number[], expected: readonly number[]): Promise<void> {
  expect(got.shape).toEqual(shape)
  const values = await got.read()
  expect(values).toBeInstanceOf(Float64Array)
  expect(values.length).toBe(expected.length)
  expected.forEach((value, i) => {
    if (!Number.isFinite(value)) expect(values[i]).toBe(value)
    else expect(Math.abs((values[i] as number) - value)).toBeLessThanOrEqual(100 * Number.EPSILON * Math.max(1, Math.abs(value)))
  })
}

describe('forward kernels equal their definitions', () => {
  it('attention, element by element', async () => {
    const [B, Sq, Sk, Hq, Hk, D, Dv] = [2, 5, 4, 4, 2, 3, 2]
    const [q, key, v] = [normals(B * Sq * Hq * D), normals(B * Sk * Hk * D), normals(B * Sk * Hk * Dv)]
    const c = 1.3
    const expectedOut: number[] = []
    const expectedLse = new Array<number>(B * Hq * Sq)
    for (let b = 0; b < B; b++) {
      for (let i = 0; i < Sq; i++) {
        for (let h = 0; h < Hq; h++) {
          const hk = h < 2 ? 0 : 1
          const weights = Array.from({ length: Sk }, (_, j) => {
            const dot = sum(
              Array.from(
                { length: D },
                (_, d) => (q[((b * Sq + i) * Hq + h) * D + d] as number) * (key[((b * Sk + j) * Hk + hk) * D + d] as number),
              ),
            )
            // Bottom-right causal with a window of two keys to the left: row 0 of 5 queries on 4 keys sees none.
            return j <= i - 1 && j >= i - 3 ? Math.exp(c * Math.tanh((0.9 * dot) / c)) : 0
          })
          const total = sum(weights)
          expectedLse[(b * Hq + h) * Sq + i] = Math.log(total)
          for (let d = 0; d < Dv; d++) {
            const weighted = sum(weights.map((w, j) => w * (v[((b * Sk + j) * Hk + hk) * Dv + d] as number)))
            expectedOut.push(total === 0 ? 0 : weighted / total)
          }
        }
      }
    }
    const { out, lse } = k.attentionForward(t(q, [B, Sq, Hq, D]), t(key, [B, Sk, Hk, D]), t(v, [B, Sk, Hk, Dv]), {
      causal: true,
      windowSize: [2, -1],
      softcap: c,
      softmaxScale: 0.9,
    })
    await expectValues(out, [B, Sq, Hq, Dv], expectedOut)
    await expectValues(lse, [B, Hq, Sq], expectedLse)
  })

  it.each([
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ])('matmul with transposeA %s and transposeB %s, batched and shared', async (transposeA, transposeB) => {
    for (const shared of [true, false]) {
      const [batch, m, n, kk] = [3, 5, 7, 6]
      const a = normals(batch * m * kk)
      const b = normals((shared ? 1 : batch) * kk * n)
      const expected: number[] = []
      for (let x = 0; x < batch; x++) {
        for (let i = 0; i < m; i++) {
          for (let j = 0; j < n; j++) {
            const at = (p: number) => a[x * m * kk + (transposeA ? p * m + i : i * kk + p)] as number
            const bt = (p: number) => b[(shared ? 0 : x * kk * n) + (transposeB ? j * kk + p : p * n + j)] as number
            expected.push(-0.5 * sum(Array.from({ length: kk }, (_, p) => at(p) * bt(p))))
          }
        }
      }
      const shapeB = transposeB ? [n, kk] : [kk, n]
      const left = t(a, [batch, ...(transposeA ? [kk, m] : [m, kk])])
      const right = t(b, shared ? shapeB : [batch, ...shapeB])
      await expectValues(k.matmul(left, right, { transposeA, transposeB, alpha: -0.5 }), [batch, m, n], expected)
      const into = t(expected, [batch, m, n])
      expect(k.matmul(left, right, { transposeA, transposeB, alpha: -0.5, accumulateInto: into })).toBe(into)
      await expectValues(
        into,
        [batch, m, n],
        expected.map((x) => 2 * x),
      )
    }
  })

  it('matmul with bias, gelu and the values before it', async () => {
    const [a, b, bias] = [normals(6), normals(6), normals(2)]
    const before = [0, 1].flatMap((i) =>
      [0, 1].map((j) => sum([0, 1, 2].map((p) => (a[i * 3 + p] as number) * (b[p * 2 + j] as number))) + (bias[j] as number)),
    )
    const preActivation = f64.empty([2, 2])
    const out = k.matmul(t(a, [2, 3]), t(b, [3, 2]), { bias: t(bias, [2]), activation: 'gelu', preActivation })
    await expectValues(preActivation, [2, 2], before)
    await expectValues(out, [2, 2], before.map(gelu))
  })

  it('layerNorm and rmsNorm', async () => {
    const [x, w, b] = [normals(8), normals(4), normals(4)]
    const rows = [x.slice(0, 4), x.slice(4)]
    const mean = rows.map((row) => sum(row) / 4)
    const rstd = rows.map((row, i) => 1 / Math.sqrt(sum(row.map((v) => (v - (mean[i] as number)) ** 2)) / 4 + 1e-5))
    const layer = k.layerNormForward(t(x, [2, 4]), t(w, [4]), t(b, [4]))
    await expectValues(layer.mean, [2], mean)
    await expectValues(layer.rstd, [2], rstd)
    const normalised = rows.flatMap((row, i) =>
      row.map((v, j) => (v - (mean[i] as number)) * (rstd[i] as number) * (w[j] as number) + (b[j] as number)),
    )
    await expectValues(layer.out, [2, 4], normalised)

    const rms = rows.map((row) => 1 / Math.sqrt(sum(row.map((v) => v * v)) / 4 + 0.5))
    const rmsNorm = k.rmsNormForward(t(x, [2, 4]), t(w, [4]), { eps: 0.5 })
    await expectValues(rmsNorm.rstd, [2], rms)
    await expectValues(
      rmsNorm.out,
      [2, 4],
      rows.flatMap((row, i) => row.map((v, j) => v * (rms[i] as number) * (w[j] as number))),
    )
  })

  it('softmax, causal with more queries than keys', async () => {
    const x = normals(6)
    const e = x.map((v) => Math.exp(0.5 * v)) as [number, number, number, number, number, number]
    const expected = [0, 0, 1, 0, e[4] / (e[4] + e[5]), e[5] / (e[4] + e[5])]
    await expectValues(k.softmaxForward(t(x, [3, 2]), { scale: 0.5, causal: true }), [3, 2], expected)
  })

  it('gelu, swiglu, add, scale', async () => {
    const [x, y] = [normals(5), normals(5)]
    await expectValues(k.geluForward(t(x, [5])), [5], x.map(gelu))
    await expectValues(
      k.swigluForward(t(x, [5]), t(y, [5])),
      [5],
      x.map((g, i) => (g / (1 + Math.exp(-g))) * (y[i] as number)),
    )
    await expectValues(
      k.add(t(x, [5]), t(y, [5])),
      [5],
      x.map((v, i) => v + (y[i] as number)),
    )
    await expectValues(
      k.scale(t(x, [5]), -3),
      [5],
      x.map((v) => -3 * v),
    )
  })

  it('embedding, with zeros for tokens out of range, and its gradient into a sum', async () => {
    const weight = normals(6)
    const ids = i32([2, -1, 0, 3, 2])
    const row = (id: number) => weight.slice(2 * id, 2 * id + 2)
    await expectValues(k.embeddingForward(ids, t(weight, [3, 2])), [5, 2], [...row(2), 0, 0, ...row(0), 0, 0, ...row(2)])
    const into = t([1, 1, 1, 1, 1, 1], [3, 2])
    k.embeddingBackward(t([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [5, 2]), ids, 3, { accumulateInto: into })
    await expectValues(into, [3, 2], [6, 7, 1, 1, 11, 13])
  })

  it('rope turns pairs (i, i + R/2) and leaves the rest', async () => {
    const x = [1, 2, 3, 4, 5]
    const angle = [0.3, 0.4]
    const [cos, sin] = [Math.cos, Math.sin].map((f) => t([0, 0, ...angle.map(f)], [2, 2])) as [Tensor, Tensor]
    const [c0, c1, s0, s1] = [...angle.map(Math.cos), ...angle.map(Math.sin)] as [number, number, number, number]
    const expected = [1 * c0 - 3 * s0, 2 * c1 - 4 * s1, 3 * c0 + 1 * s0, 4 * c1 + 2 * s1, 5]
    const out = k.ropeForward(t(x, [1, 1, 1, 5]), cos, sin, { positionOffset: 1 })
    await expectValues(out, [1, 1, 1, 5], expected)
    await expectValues(k.ropeBackward(out, cos, sin, { positionOffset: 1 }), [1, 1, 1, 5], x)
  })

  it('crossEntropy: mean over the rows that count, 0 if none does, NaN for a target that is no class', async () => {
    const logits = normals(9)
    const lse = [0, 1, 2].map((i) => Math.log(sum(logits.slice(3 * i, 3 * i + 3).map(Math.exp))))
    const x = t(logits, [3, 3])
    const nll = (row: number, target: number) => (lse[row] as number) - (logits[3 * row + target] as number)
    const result = k.crossEntropyForward(x, i32([2, -100, 0]))
    await expectValues(result.loss, [], [(nll(0, 2) + nll(2, 0)) / 2])
    await expectValues(result.lse, [3], lse)
    await expectValues(k.crossEntropyForward(x, i32([1, 7, 1]), { ignoreIndex: 7 }).loss, [], [(nll(0, 1) + nll(2, 1)) / 2])
    await expectValues(k.crossEntropyForward(x, i32([-100, -100, -100])).loss, [], [0])
    expect(await k.crossEntropyForward(x, i32([0, 3, 0])).loss.read()).toEqual(Float64Array.of(Number.NaN))
    const identity = t([1, 0, 0, 0, 1, 0, 0, 0, 1], [3, 3])
    await expectValues(k.linearCrossEntropyForward(x, identity, i32([2, -100, 0])).loss, [], [(nll(0, 2) + nll(2, 0)) / 2])
  })

  it('adamwStep and sumSquares', async () => {
    const [param, grad, expAvg, expAvgSq] = [t([1, -2], [2]), t([0.5, 4], [2]), t([0.1, 0.2], [2]), t([0.3, 0.4], [2])]
    k.adamwStep(param, grad, expAvg, expAvgSq, { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-3, weightDecay: 0.2, step: 3, gradScale: 0.5 })
    const expected = [
      [1, 0.25, 0.1, 0.3],
      [-2, 2, 0.2, 0.4],
    ].map(([p, g, m, v]) => {
      const m1 = 0.9 * (m as number) + 0.1 * (g as number)
      const v1 = 0.99 * (v as number) + 0.01 * (g as number) ** 2
      const step = (0.1 * (m1 / (1 - 0.9 ** 3))) / (Math.sqrt(v1 / (1 - 0.99 ** 3)) + 1e-3)
      return [(p as number) * (1 - 0.1 * 0.2) - step, m1, v1] as const
    })
    await expectValues(
      param,
      [2],
      expected.map((e) => e[0]),
    )
    await expectValues(
      expAvg,
      [2],
      expected.map((e) => e[1]),
    )
    await expectValues(
      expAvgSq,
      [2],
      expected.map((e) => e[2]),
    )
    const total = t([1], [])
    k.sumSquares(t([1, 2, 3], [3]), { accumulateInto: total })
    await expectValues(total, [], [15])
  })
})

describe("precision 'f32'", () => {
  const f32 = createReferenceBackend({ precision: 'f32' })
  const tiny = 2 ** -24
  // 1 + 2^-24 rounds to 1 each time, where one rounding at the end would give 1 + 2^-22.
  const ones = [1, tiny, tiny, tiny, tiny]

  it('rounds every addition of a sum', async () => {
    const x = f32.tensor(ones, [1, 5])
    const column = f32.tensor([1, 1, 1, 1, 1], [5, 1])
    expect(await f32.kernels.matmul(x, column).read()).toEqual(Float32Array.of(1))
    expect(await f32.kernels.sumRows(x.reshape([5, 1])).read()).toEqual(Float32Array.of(1))
    const roots = f32.tensor([1, 2 ** -12, 2 ** -12, 2 ** -12, 2 ** -12], [5])
    expect(await f32.kernels.sumSquares(roots).read()).toEqual(Float32Array.of(1))
    const statistics = f32.kernels.layerNormForward(x, f32.zeros([5]), f32.zeros([5]))
    expect(await statistics.mean.read()).toEqual(Float32Array.of(1 / 5))
  })

  it('is bit by bit the sequential loop, in every row and column', async () => {
    const [m, n, kk] = [9, 11, 37]
    const [a, b] = [Float32Array.from(normals(m * kk)), Float32Array.from(normals(n * kk))]
    const expected = Float32Array.from({ length: m * n }, (_, at) => {
      let total = 0
      for (let p = 0; p < kk; p++) {
        const product = Math.fround((a[Math.floor(at / n) * kk + p] as number) * (b[(at % n) * kk + p] as number))
        total = Math.fround(total + product)
      }
      return total
    })
    const out = f32.kernels.matmul(f32.tensor(a, [m, kk]), f32.tensor(b, [n, kk]), { transposeB: true })
    expect(await out.read()).toEqual(expected)
  })

  it('rounds every product', async () => {
    // (1 + 2^-23)² = 1 + 2^-22 + 2^-46: a fused multiply-add would keep the last term after subtracting the rest.
    const a = f32.tensor([1, 1 + 2 ** -23], [1, 2])
    const b = f32.tensor([-(1 + 2 ** -22), 1 + 2 ** -23], [2, 1])
    expect(await f32.kernels.matmul(a, b).read()).toEqual(Float32Array.of(0))
  })

  it.each(['f64', 'f32'] satisfies Precision[])('gives results of a %s backend in its own array type', async (precision) => {
    const backend = createReferenceBackend({ precision })
    const values = await backend.kernels.geluForward(backend.tensor([0.1], [1])).read()
    expect(values).toBeInstanceOf(precision === 'f64' ? Float64Array : Float32Array)
  })

  it('stays within float32 rounding of the oracle, and is not it', async () => {
    const [q, key, v] = [normals(64 * 16), normals(64 * 16), normals(64 * 16)].map((x) => Float32Array.from(x))
    const run = async (backend: Backend) => {
      const inputs = [q, key, v].map((x) => backend.tensor(x as Float32Array, [1, 64, 1, 16])) as [Tensor, Tensor, Tensor]
      return backend.kernels.attentionForward(...inputs, { causal: true }).out.read()
    }
    const [exact, rounded] = [await run(f64), await run(f32)]
    const error = Math.max(...Array.from(rounded, (x, i) => Math.abs(x - (exact[i] as number))))
    const largest = Math.max(...Array.from(exact, Math.abs))
    expect(error).toBeGreaterThan(0)
    // Each output is a sum of at most 64 terms after scores of 16 terms: γ_n ≈ n·2^-24 on each.
    expect(error).toBeLessThan((64 + 16 + 8) * 2 ** -24 * Math.max(1, largest))
  })
})

describe('16-bit tensors', () => {
  it.each([
    ['f16', f32ArrayToF16Bits, f16BitsToF32],
    ['bf16', f32ArrayToBF16Bits, bf16BitsToF32],
  ] as const)('%s kernels compute in the backend precision and round results once', async (dtype, encode, decode) => {
    const bits = encode(normals(12))
    const values = Array.from(bits, decode)
    const half = (shape: number[]) => f64.tensor(bits, shape, dtype)
    const full = (shape: number[]) => f64.tensor(values, shape)
    const product = k.matmul(half([3, 4]), half([4, 3]))
    expect(product.dtype).toBe(dtype)
    expect(await product.read()).toEqual(encode(await k.matmul(full([3, 4]), full([4, 3])).read()))
    const [h, x] = [half([1, 3, 2, 2]), full([1, 3, 2, 2])]
    const attention = k.attentionForward(h, h, h, { causal: true })
    const exact = k.attentionForward(x, x, x, { causal: true })
    expect(await attention.out.read()).toEqual(encode(await exact.out.read()))
    expect(await attention.lse.read()).toEqual(await exact.lse.read())
    expect(await k.cast(half([12]), 'f32').read()).toEqual(Float64Array.from(values))
    expect(await k.cast(k.scale(full([12]), 1 / 3), dtype).read()).toEqual(encode(values.map((v) => v * (1 / 3))))
    expect(await k.copy(half([3, 4]).permute([1, 0])).read()).toEqual(await half([3, 4]).permute([1, 0]).read())
    // Gradients of 16-bit weights may be summed in f32, and then are not rounded to 16 bits before.
    const into = f64.zeros([4])
    k.sumRows(half([3, 4]), { accumulateInto: into })
    expect(await into.read()).toEqual(await k.sumRows(full([3, 4])).read())
  })
})

function gelu(x: number): number {
  return (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
}
