import type { AttentionOptions, Tensor } from '@tilegrad/tensor'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { blockMaskOf } from '../block-mask.testing'
import { attentionRandomWord, PhiloxStream } from '../philox'
import { createReferenceBackend } from './backend'

const backend = createReferenceBackend()
const { kernels } = backend

const size = (max: number, min = 0) => fc.integer({ min, max })
const side = fc.oneof(fc.constant(-1), size(60))

/** Sequences of any lengths, equal ones as a batch or all of them packed, and which options are on. */
const problems = fc.record({
  lengths: fc.array(fc.tuple(size(90), size(90)), { minLength: 1, maxLength: 3 }),
  packed: fc.boolean(),
  group: size(2, 1),
  nHeadsK: size(2, 1),
  headDim: size(4, 1),
  headDimV: size(4, 1),
  causal: fc.boolean(),
  causalAlign: fc.constantFrom('bottom-right' as const, 'top-left' as const),
  windowSize: fc.tuple(side, side),
  softcap: fc.option(fc.double({ min: 0.5, max: 3, noNaN: true })),
  alibi: fc.constantFrom('none', 'head', 'batch and head'),
  bias: fc.option(fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean())),
  sink: fc.boolean(),
  dropoutP: fc.option(fc.double({ min: 0.05, max: 0.9, noNaN: true })),
  blockMask: fc.option(fc.tuple(fc.boolean(), fc.boolean())),
  seed: fc.nat(),
})
type Problem = typeof problems extends fc.Arbitrary<infer T> ? T : never

/** Inputs of one problem, with accessors that say what each option means. */
function draw(p: Problem) {
  const random = new PhiloxStream(p.seed)
  const lengths = p.packed ? p.lengths : p.lengths.map(() => p.lengths[0] as [number, number])
  const [B, Hq, Hk, D, Dv] = [lengths.length, p.group * p.nHeadsK, p.nHeadsK, p.headDim, p.headDimV]
  const [Sq, Sk] = p.packed
    ? [Math.max(...lengths.map(([q]) => q)), Math.max(...lengths.map(([, k]) => k))]
    : (lengths[0] as [number, number])
  const starts = (side: 0 | 1) => [0, ...lengths.keys()].map((_, b) => lengths.slice(0, b).reduce((sum, length) => sum + length[side], 0))
  const [cuSeqlensQ, cuSeqlensK] = [starts(0), starts(1)]
  const [totalQ, totalK] = [cuSeqlensQ[B] as number, cuSeqlensK[B] as number]
  const values = (...shape: number[]) => ({
    shape,
    data: Array.from({ length: shape.reduce((n, s) => n * s, 1) }, () => random.nextNormal()),
  })
  const rows = (total: number, length: number, ...rest: number[]) => values(...(p.packed ? [total] : [B, length]), ...rest)
  const [q, k, v] = [rows(totalQ, Sq, Hq, D), rows(totalK, Sk, Hk, D), rows(totalK, Sk, Hk, Dv)]
  const slopes = p.alibi === 'none' ? undefined : values(...(p.alibi === 'head' ? [Hq] : [B, Hq]))
  const bias = p.bias && !p.packed ? values(...p.bias.map((whole, axis) => (whole ? ([B, Hq, Sq, Sk][axis] as number) : 1))) : undefined
  bias?.data.forEach((_, n) => {
    if (n % 7 === 3) bias.data[n] = Number.NEGATIVE_INFINITY
  })
  const sink = p.sink ? values(Hq) : undefined
  // Tiles of every kind: absent, full, and two partial patterns.
  const allowed = (b: number, h: number, i: number, j: number) => {
    const tile = (Math.floor(i / 64) + 2 * Math.floor(j / 64) + (p.blockMask?.[0] ? b : 0) + (p.blockMask?.[1] ? h : 0) + (p.seed % 4)) % 4
    return tile === 1 || (tile === 2 && (i * 7 + j * 3) % 5 < 2) || (tile === 3 && i > j)
  }
  const blockMask = p.blockMask
    ? blockMaskOf(allowed, {
        batchSize: p.blockMask[0] ? B : 1,
        nHeads: p.blockMask[1] ? Hq : 1,
        seqlenQ: Sq,
        seqlenK: Sk,
        blockM: 64,
        blockN: 64,
      })
    : undefined
  const tensor = (x: { shape: number[]; data: number[] }) => backend.tensor(x.data, x.shape)
  const options: AttentionOptions = {
    softmaxScale: 0.7,
    causal: p.causal,
    causalAlign: p.causalAlign,
    windowSize: p.windowSize,
    ...(p.softcap !== null && { softcap: p.softcap }),
    ...(slopes && { alibiSlopes: tensor(slopes) }),
    ...(bias && { bias: tensor(bias) }),
    ...(sink && { sink: tensor(sink) }),
    ...(p.dropoutP !== null && { dropoutP: p.dropoutP, seed: p.seed }),
    ...(blockMask && { blockMask }),
    ...(p.packed && { cuSeqlensQ: Int32Array.from(cuSeqlensQ), cuSeqlensK: Int32Array.from(cuSeqlensK) }),
  }
  const visible = (b: number, h: number, i: number, j: number) => {
    const [sq, sk] = lengths[b] as [number, number]
    const aligned = j - (i + sk - sq)
    return (
      (!p.causal || (p.causalAlign === 'top-left' ? j <= i : aligned <= 0)) &&
      (p.windowSize[0] < 0 || aligned >= -p.windowSize[0]) &&
      (p.windowSize[1] < 0 || aligned <= p.windowSize[1]) &&
      (!p.blockMask || allowed(b, h, i, j))
    )
  }
  const score = (b: number, h: number, i: number, j: number) => {
    const [sq, sk] = lengths[b] as [number, number]
    let s = 0
    for (let d = 0; d < D; d++) {
      const row = ((cuSeqlensQ[b] as number) + i) * Hq + h
      const key = ((cuSeqlensK[b] as number) + j) * Hk + Math.floor(h / p.group)
      s += 0.7 * (q.data[row * D + d] as number) * (k.data[key * D + d] as number)
    }
    if (p.softcap !== null) s = p.softcap * Math.tanh(s / p.softcap)
    if (slopes) s -= (slopes.data[p.alibi === 'head' ? h : b * Hq + h] as number) * Math.abs(i + sk - sq - j)
    if (bias) {
      const at = [b, h, i, j].reduce((sum, x, axis) => sum * (bias.shape[axis] as number) + (bias.shape[axis] === 1 ? 0 : x), 0)
      s += bias.data[at] as number
    }
    return s
  }
  const value = (b: number, h: number, j: number, d: number) =>
    v.data[(((cuSeqlensK[b] as number) + j) * Hk + Math.floor(h / p.group)) * Dv + d] as number
  return {
    sizes: { B, Hq, Sq, Sk, Dv, totalQ, lengths, cuSeqlensQ },
    tensors: [tensor(q), tensor(k), tensor(v)] as [Tensor, Tensor, Tensor],
    options,
    visible,
    score,
    value,
    sink: (h: number) => (sink ? (sink.data[h] as number) : Number.NEGATIVE_INFINITY),
  }
}

/** Sums of at most 90 terms with relative errors of a few ε each, beside max(1, ·). */
function expectClose(got: number, expected: number): void {
  if (got !== expected) expect(Math.abs(got - expected)).toBeLessThanOrEqual(1000 * Number.EPSILON * Math.max(1, Math.abs(expected)))
}

describe('attention of the reference', () => {
  it('equals its definition, pair by pair, for any combination of options', async () => {
    await fc.assert(
      fc.asyncProperty(problems, async (p) => {
        const { sizes, tensors, options, visible, score, value, sink } = draw(p)
        const { Hq, Dv, totalQ, lengths, cuSeqlensQ } = sizes
        const result = kernels.attentionForward(...tensors, options)
        const [out, lse] = [await result.out.read(), await result.lse.read()]
        lengths.forEach(([sq, sk], b) => {
          for (let h = 0; h < Hq; h++) {
            for (let i = 0; i < sq; i++) {
              const keys = Array.from({ length: sk }, (_, j) => j).filter((j) => visible(b, h, i, j))
              const weights = keys.map((j) => Math.exp(score(b, h, i, j)))
              const total = weights.reduce((a, w) => a + w, Math.exp(sink(h)))
              const row = (cuSeqlensQ[b] as number) + i
              expectClose(lse[p.packed ? h * totalQ + row : (b * Hq + h) * sq + i] as number, Math.log(total))
              const kept = keys.map(
                (j) => p.dropoutP === null || attentionRandomWord(p.seed, b * Hq + h, i, j) >= Math.floor(p.dropoutP * 2 ** 32),
              )
              for (let d = 0; d < Dv; d++) {
                const sum = keys.reduce((a, j, n) => a + (kept[n] ? (weights[n] as number) * value(b, h, j, d) : 0), 0)
                expectClose(out[(row * Hq + h) * Dv + d] as number, total === 0 ? 0 : sum / total / (1 - (p.dropoutP ?? 0)))
              }
            }
          }
        })
      }),
      { numRuns: 60, seed: 4 },
    )
  })

  it('looks inside: rows, column sums and best keys of the probabilities before dropout', async () => {
    await fc.assert(
      fc.asyncProperty(problems, size(6, 1), fc.array(fc.nat(), { maxLength: 4 }), async (problem, topK, picks) => {
        const p = { ...problem, packed: false }
        const { sizes, tensors, options, visible, score } = draw(p)
        const { B, Hq, Sq, Sk } = sizes
        const [q, k] = tensors
        const { lse } = kernels.attentionForward(...tensors, options)
        const lses = await lse.read()
        const picked = Sq > 0 ? picks.map((n) => n % Sq) : []
        const rows = await kernels.attentionRows(q, k, lse, picked, options).read()
        const sums = await kernels.attentionColumnSums(q, k, lse, options).read()
        const best = kernels.attentionTopK(q, k, lse, topK, options)
        const [probabilities, indices] = [await best.probabilities.read(), await best.indices.read()]
        for (let b = 0; b < B; b++) {
          for (let h = 0; h < Hq; h++) {
            const head = b * Hq + h
            const s = Array.from({ length: Sq }, (_, i) =>
              Array.from({ length: Sk }, (_, j) => (visible(b, h, i, j) ? score(b, h, i, j) : Number.NEGATIVE_INFINITY)),
            )
            const probability = (i: number, j: number) =>
              s[i]?.[j] === Number.NEGATIVE_INFINITY ? 0 : Math.exp((s[i]?.[j] as number) - (lses[head * Sq + i] as number))
            for (let j = 0; j < Sk; j++) {
              picked.forEach((i, n) => {
                expectClose(rows[(head * picked.length + n) * Sk + j] as number, probability(i, j))
              })
              expectClose(
                sums[head * Sk + j] as number,
                s.reduce((a, _, i) => a + probability(i, j), 0),
              )
            }
            for (let i = 0; i < Sq; i++) {
              const seen = Array.from({ length: Sk }, (_, j) => j).filter((j) => s[i]?.[j] !== Number.NEGATIVE_INFINITY)
              const sorted = seen.map((j) => probability(i, j)).sort((x, y) => y - x)
              const at = (head * Sq + i) * topK
              const found = [...indices.slice(at, at + topK)]
              expect(found.filter((j) => j !== -1)).toHaveLength(Math.min(topK, seen.length))
              expect(new Set(found.filter((j) => j !== -1)).size).toBe(Math.min(topK, seen.length))
              found.forEach((j, n) => {
                expectClose(probabilities[at + n] as number, sorted[n] ?? 0)
                if (j !== -1) expectClose(probabilities[at + n] as number, probability(i, j))
                else expect(n).toBeGreaterThanOrEqual(seen.length)
              })
            }
          }
        }
      }),
      { numRuns: 40, seed: 5 },
    )
  })

  it('of equal scores names the lower key first, and −1 where there are no more', async () => {
    const [q, k] = [backend.zeros([1, 2, 1, 2]), backend.zeros([1, 3, 1, 2])]
    const options = { causal: true }
    const { lse } = kernels.attentionForward(q, k, k, options)
    const { probabilities, indices } = kernels.attentionTopK(q, k, lse, 4, options)
    expect([...(await indices.read())]).toEqual([0, 1, -1, -1, 0, 1, 2, -1])
    const third = Math.exp(-Math.log(3))
    expect([...(await probabilities.read())]).toEqual([0.5, 0.5, 0, 0, third, third, third, 0])
  })

  it('keeps what float32 must: a sink far above the scores neither overflows nor makes NaN', async () => {
    const f32 = createReferenceBackend({ precision: 'f32' })
    const x = f32.tensor([1, 2, 3, 4], [1, 2, 1, 2])
    const sink = f32.tensor([200], [1])
    const { out, lse } = f32.kernels.attentionForward(x, x, x, { sink, causal: true })
    expect([...(await lse.read())]).toEqual([200, 200])
    expect([...(await out.read())]).toEqual([0, 0, 0, 0])
    const gradients = f32.kernels.attentionBackward(x, x, x, x, out, lse, { sink, causal: true })
    for (const gradient of Object.values(gradients) as Tensor[]) {
      for (const value of await gradient.read()) expect(Math.abs(value)).toBe(0)
    }
  })
})
