import type { AttentionOptions, Backend, Tensor } from '@tilegrad/tensor'
import fc from 'fast-check'
import { blockMaskOf } from './block-mask.testing'
import { PhiloxStream } from './philox'

export const size = (max: number, min = 0) => fc.integer({ min, max })
const side = fc.oneof(fc.constant(-1), size(60))

const seqlen = fc.oneof(size(12), size(90))

/** Sequences of any lengths, equal ones as a batch or all of them packed, and which options are on. */
export const problems = fc.record({
  lengths: fc.array(fc.tuple(seqlen, seqlen), { minLength: 1, maxLength: 3 }),
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
export type Problem = typeof problems extends fc.Arbitrary<infer T> ? T : never

/** Inputs of one problem, with accessors that say what each option means. */
export function draw(backend: Backend, p: Problem) {
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
    data: Float64Array.from({ length: shape.reduce((n, s) => n * s, 1) }, () => random.nextNormal()),
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
        blockM: p.seed % 3 === 0 ? 128 : 64,
        blockN: p.seed % 5 === 0 ? 128 : 64,
      })
    : undefined
  const tensor = (x: { shape: number[]; data: Float64Array }) => backend.tensor(x.data, x.shape)
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
    sizes: { B, Hq, Hk, Sq, Sk, D, Dv, totalQ, totalK, lengths, cuSeqlensQ, cuSeqlensK },
    /** Their elements, those of the options included. */
    data: { q: q.data, k: k.data, v: v.data },
    optionData: { ...(slopes && { alibiSlopes: slopes.data }), ...(bias && { bias: bias.data }), ...(sink && { sink: sink.data }) },
    tensors: [tensor(q), tensor(k), tensor(v)] as [Tensor, Tensor, Tensor],
    options,
    visible,
    score,
    value,
    sink: (h: number) => (sink ? (sink.data[h] as number) : Number.NEGATIVE_INFINITY),
  }
}
