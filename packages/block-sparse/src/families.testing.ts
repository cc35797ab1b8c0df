import fc from 'fast-check'
import { and, not, or } from './combinators'
import type { MaskMod, MaskTile } from './mask-mod'
import { causal, slidingWindow } from './masks/band'
import { bigBird } from './masks/big-bird'
import { butterfly } from './masks/butterfly'
import { dilated } from './masks/dilated'
import { document } from './masks/document'
import { localGlobal } from './masks/local-global'
import { prefixLM } from './masks/prefix-lm'
import { fixed, strided } from './masks/sparse-transformer'

/** Lengths that masks of `families` are drawn for: batches, heads, queries and keys. */
export const limits = { batchSize: 2, nHeads: 3, seqlen: 96 }

/** A mask and, apart from its code, what the paper says of two positions. */
export interface Example {
  readonly mask: MaskMod
  readonly sees: (b: number, h: number, qIdx: number, kvIdx: number) => boolean
  /** Parameters, for the report of a failure. */
  readonly parameters: unknown
}

const example = <P>(parameters: fc.Arbitrary<P>, make: (p: P) => MaskMod, seesOf: (p: P) => Example['sees']): fc.Arbitrary<Example> =>
  parameters.map((p) => ({ mask: make(p), sees: seesOf(p), parameters: p }))

const offset = fc.oneof(fc.constant(0), fc.integer({ min: -50, max: 50 }))
const side = fc.integer({ min: -1, max: 60 })
const windowSize = fc.tuple(side, side)
const size = fc.integer({ min: 1, max: 40 })
const inWindow = (steps: number, [left, right]: readonly [number, number]) =>
  (left === -1 || -steps <= left) && (right === -1 || steps <= right)
const positions = fc.uniqueArray(fc.integer({ min: 0, max: limits.seqlen + 20 }), { maxLength: 12 })
const row = <T>(entry: fc.Arbitrary<T>) => fc.array(entry, { minLength: limits.seqlen, maxLength: limits.seqlen })
const perBatch = <T>(entry: fc.Arbitrary<T>) => fc.tuple(entry, entry)
const lengths = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 8 })

/** Document of each position; −1 after the last. */
function idsOf(documentLengths: readonly number[]): number[] {
  const ids = documentLengths.flatMap((length, id) => Array.from({ length }, () => id))
  return [...ids, ...Array.from({ length: limits.seqlen }, () => -1)].slice(0, limits.seqlen)
}
const cuSeqlensOf = (documentLengths: readonly number[]) => {
  const cuSeqlens = [0]
  for (const length of documentLengths) cuSeqlens.push((cuSeqlens.at(-1) as number) + length)
  return Int32Array.from(cuSeqlens)
}

/** Every helper whose definition is a formula. */
export const families: Readonly<Record<string, fc.Arbitrary<Example>>> = {
  causal: example(fc.record({ offset }), causal, (p) => (_b, _h, i, j) => j <= i + p.offset),
  slidingWindow: example(
    fc.record({ windowSize, offset }),
    (p) => slidingWindow(p.windowSize, p),
    (p) => (_b, _h, i, j) => inWindow(j - i - p.offset, p.windowSize),
  ),
  dilated: example(
    fc.record({ windowSize, dilation: fc.integer({ min: 1, max: 9 }), offset }),
    dilated,
    (p) => (_b, _h, i, j) => (j - i - p.offset) % p.dilation === 0 && inWindow((j - i - p.offset) / p.dilation, p.windowSize),
  ),
  localGlobal: example(
    fc.record({ windowSize, globalTokens: fc.oneof(fc.integer({ min: 0, max: 20 }), positions), offset }),
    localGlobal,
    ({ windowSize, globalTokens, offset }) => {
      const global = (position: number) =>
        typeof globalTokens === 'number' ? position >= 0 && position < globalTokens : globalTokens.includes(position)
      return (_b, _h, i, j) => inWindow(j - i - offset, windowSize) || global(j) || global(i + offset)
    },
  ),
  strided: example(fc.record({ stride: size, offset }), strided, ({ stride, offset }) => (_b, _h, i, j) => {
    const distance = i + offset - j
    return distance >= 0 && (distance <= stride || distance % stride === 0)
  }),
  fixed: example(
    fc.tuple(size, fc.nat(), offset).map(([stride, n, offset]) => ({ stride, summary: 1 + (n % stride), offset })),
    fixed,
    ({ stride, summary, offset }) =>
      (_b, h, i, j) => {
        const subblocks = Math.floor(stride / summary)
        const end = stride - (h % subblocks) * summary
        const within = j % stride
        const sameBlock = Math.floor((i + offset) / stride) === Math.floor(j / stride)
        return j <= i + offset && (sameBlock || (within >= end - summary && within < end))
      },
  ),
  prefixLM: example(
    fc.record({ prefixLength: fc.oneof(fc.nat(limits.seqlen), perBatch(fc.nat(limits.seqlen))), offset }),
    prefixLM,
    ({ prefixLength, offset }) =>
      (b, _h, i, j) =>
        j <= i + offset || j < (typeof prefixLength === 'number' ? prefixLength : (prefixLength[b] as number)),
  ),
  'document by ids': example(
    fc.record({ q: perBatch(row(fc.integer({ min: -1, max: 3 }))), kv: perBatch(row(fc.integer({ min: -1, max: 3 }))) }),
    ({ q, kv }) => document({ documentIds: q }, { documentIds: kv.map((ids) => Int32Array.from(ids)) }),
    ({ q, kv }) =>
      (b, _h, i, j) =>
        q[b]?.[i] !== -1 && q[b]?.[i] === kv[b]?.[j],
  ),
  'document by cuSeqlens': example(
    lengths,
    (p) => document({ cuSeqlens: cuSeqlensOf(p) }),
    (p) => {
      const ids = idsOf(p)
      return (_b, _h, i, j) => ids[i] !== -1 && ids[i] === ids[j]
    },
  ),
  'document by cuSeqlens per batch': example(
    fc.record({ q: perBatch(lengths), kv: perBatch(lengths) }),
    ({ q, kv }) => document({ cuSeqlens: q.map(cuSeqlensOf) }, { cuSeqlens: kv.map(cuSeqlensOf) }),
    ({ q, kv }) => {
      const [qIds, kvIds] = [q.map(idsOf), kv.map(idsOf)]
      return (b, _h, i, j) => qIds[b]?.[i] !== -1 && qIds[b]?.[i] === kvIds[b]?.[j]
    },
  ),
  butterfly: example(
    fc.record({ blockSize: size, maxStride: fc.constantFrom(1, 2, 4, 8, 2 ** 30), offset }),
    butterfly,
    ({ blockSize, maxStride, offset }) =>
      (_b, _h, i, j) => {
        if (i + offset < 0) return false
        const [q, kv] = [Math.floor((i + offset) / blockSize), Math.floor(j / blockSize)]
        if (q === kv) return true
        // A factor of stride k: diagonal pairs at distance k/2 within the same aligned k blocks.
        for (let k = 2; k <= Math.min(maxStride, 1024); k *= 2) {
          if (Math.floor(q / k) === Math.floor(kv / k) && Math.abs(q - kv) === k / 2) return true
        }
        return false
      },
  ),
}

const bigBirds: fc.Arbitrary<MaskMod> = fc
  .record({
    seqlenK: fc.constant(limits.seqlen),
    blockSize: fc.integer({ min: 1, max: 30 }),
    windowBlocks: fc.constantFrom(1, 3, 5),
    globalBlocks: fc.nat(3),
    randomBlocks: fc.nat(4),
    seed: fc.nat(),
    offset,
  })
  .map(bigBird)

const leaf = fc.oneof(...Object.values(families).map((family) => family.map(({ mask }) => mask)), bigBirds)

/** Every helper, and combinations of them three deep, some of them without bounds or patterns. */
export const anyMask: fc.Arbitrary<MaskMod> = fc.letrec<{ mask: MaskMod; children: readonly [MaskMod, ...MaskMod[]] }>((tie) => ({
  children: fc
    .tuple(tie('mask'), fc.array(tie('mask'), { maxLength: 2 }))
    .map(([first, rest]): readonly [MaskMod, ...MaskMod[]] => [first, ...rest]),
  mask: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    leaf,
    tie('children').map((masks) => and(...masks)),
    tie('children').map((masks) => or(...masks)),
    tie('mask').map(not),
    leaf.map(
      (mask): MaskMod =>
        (b, h, i, j) =>
          mask(b, h, i, j),
    ),
  ),
})).mask

const range = (max: number) => fc.tuple(fc.nat(max - 1), fc.nat(max - 1)).map(([a, b]) => [Math.min(a, b), Math.max(a, b) + 1] as const)

/** Any tile, of any sides. */
export const anyTile: fc.Arbitrary<MaskTile> = fc
  .record({ b: fc.nat(limits.batchSize - 1), h: fc.nat(limits.nHeads - 1), q: range(limits.seqlen), kv: range(limits.seqlen) })
  .map(({ b, h, q, kv }) => ({ b, h, qBegin: q[0], qEnd: q[1], kvBegin: kv[0], kvEnd: kv[1] }))

/** The pairs of a tile, as '1' and '0', row by row. */
export function pairsOf(mask: MaskMod, { b, h, qBegin, qEnd, kvBegin, kvEnd }: MaskTile): string {
  let pairs = ''
  for (let i = qBegin; i < qEnd; i++) for (let j = kvBegin; j < kvEnd; j++) pairs += mask(b, h, i, j) ? '1' : '0'
  return pairs
}
