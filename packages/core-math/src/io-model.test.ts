import type { BlockMask } from '@tilegrad/tensor'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { attentionBackward } from './attention-backward'
import { attentionForward } from './attention-forward'
import type { HeadProblem } from './attention-problem'
import { HeadMask } from './head-mask'
import {
  blockSparseIoGrowth,
  flashBackwardIo,
  flashForwardIo,
  flashIoGrowth,
  type IoBytes,
  type IoProblem,
  standardBackwardIo,
  standardForwardIo,
  standardIoGrowth,
  tilesForFastMemory,
  visitedShare,
} from './io-model'
import type { TileSizes } from './schedule'

const UNLIMITED = { diagonalMin: Number.NEGATIVE_INFINITY, diagonalMax: Number.POSITIVE_INFINITY }

const square = (seqlen: number, headDim: number, band: Partial<IoProblem> = {}): IoProblem => ({
  heads: 1,
  seqlenQ: seqlen,
  seqlenK: seqlen,
  headDim,
  headDimV: headDim,
  bytesPerElement: 4,
  ...UNLIMITED,
  ...band,
})

const total = ({ loads, stores }: IoBytes) => loads + stores

/** Every pair of the tiles that `listed` names, of `side` × `side`. */
function listedMask(seqlenQ: number, seqlenK: number, side: number, listed: (mBlock: number, nBlock: number) => boolean): BlockMask {
  const [nMBlocks, nNBlocks] = [Math.ceil(seqlenQ / side), Math.ceil(seqlenK / side)]
  const lists = (rows: number, columns: number, has: (row: number, column: number) => boolean) => {
    const [offsets, blocks] = [[0], [] as number[]]
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) if (has(row, column)) blocks.push(column)
      offsets.push(blocks.length)
    }
    return { offsets: Int32Array.from(offsets), blocks: Int32Array.from(blocks), bits: new Int32Array(blocks.length).fill(-1) }
  }
  const kv = lists(nMBlocks, nNBlocks, listed)
  const q = lists(nNBlocks, nMBlocks, (n, m) => listed(m, n))
  return {
    ...{ batchSize: 1, nHeads: 1, seqlenQ, seqlenK, blockM: side, blockN: side },
    ...{ kvOffsets: kv.offsets, kvBlocks: kv.blocks, kvBits: kv.bits },
    ...{ qOffsets: q.offsets, qBlocks: q.blocks, qBits: q.bits },
    bits: new Int32Array(0),
  }
}

/** Rows of ones that count the elements taken out of them, a tile at a time. */
class CountedRows extends Array<Float64Array> {
  loaded = 0

  constructor(
    length: number,
    readonly dim: number,
  ) {
    super()
    for (let i = 0; i < length; i++) this.push(new Float64Array(dim).fill(1))
  }

  override slice(begin: number, end: number): Float64Array[] {
    const rows: Float64Array[] = []
    for (let i = begin; i < end; i++) rows.push(this[i] as Float64Array)
    this.loaded += rows.length * this.dim
    return rows
  }
}

/** The counts are those of a walk over the tiles whose first query m and first key n are `visited`. */
function expectCounts(p: IoProblem & TileSizes, visited: (m: number, n: number) => boolean): void {
  const { seqlenQ, seqlenK, headDim, headDimV, blockM, blockN } = p
  // Loads and stores of one head, in elements of matrices and of row statistics.
  const forward = { loads: 0, stores: 0, statLoads: 0, statStores: 0 }
  const keysOuter = { loads: 0, stores: seqlenQ * headDimV, statLoads: 0, statStores: 2 * seqlenQ }
  const backward = { loads: 2 * seqlenQ * headDimV, stores: 0, statLoads: 0, statStores: seqlenQ }
  for (let m = 0; m < seqlenQ; m += blockM) {
    const rows = Math.min(blockM, seqlenQ - m)
    forward.loads += rows * headDim
    forward.stores += rows * headDimV
    forward.statStores += rows
    let first = true
    for (let n = 0; n < seqlenK; n += blockN) {
      if (!visited(m, n)) continue
      const keys = Math.min(blockN, seqlenK - n)
      forward.loads += keys * (headDim + headDimV)
      keysOuter.loads += rows * (headDim + headDimV)
      keysOuter.stores += rows * headDimV
      keysOuter.statLoads += 2 * rows
      keysOuter.statStores += 2 * rows
      backward.loads += rows * (headDim + headDimV) + (first ? 0 : rows * headDim)
      backward.stores += rows * headDim
      backward.statLoads += 2 * rows
      first = false
    }
    if (first) backward.stores += rows * headDim
  }
  keysOuter.loads += seqlenK * (headDim + headDimV)
  backward.loads += seqlenK * (headDim + headDimV)
  backward.stores += seqlenK * (headDim + headDimV)
  const inBytes = (count: typeof forward): IoBytes => ({
    loads: p.heads * (count.loads * p.bytesPerElement + count.statLoads * 4),
    stores: p.heads * (count.stores * p.bytesPerElement + count.statStores * 4),
  })
  expect(flashForwardIo(p, p)).toEqual(inBytes(forward))
  expect(flashForwardIo(p, p, 'keys')).toEqual(inBytes(keysOuter))
  expect(flashBackwardIo(p, p)).toEqual(inBytes(backward))
}

describe('exact counts', () => {
  it('equal a walk over every tile that touches a visible pair', () => {
    const side = fc.integer({ min: -15, max: 15 })
    const problems = fc.record({
      heads: fc.integer({ min: 1, max: 3 }),
      seqlenQ: fc.integer({ min: 0, max: 15 }),
      seqlenK: fc.integer({ min: 0, max: 15 }),
      headDim: fc.integer({ min: 1, max: 5 }),
      headDimV: fc.integer({ min: 1, max: 5 }),
      bytesPerElement: fc.constantFrom(2, 4),
      diagonalMin: side,
      diagonalMax: side,
      blockM: fc.integer({ min: 1, max: 6 }),
      blockN: fc.integer({ min: 1, max: 6 }),
    })
    fc.assert(
      fc.property(problems, (p) => {
        const visited = (m: number, n: number) => {
          for (let i = m; i < Math.min(p.seqlenQ, m + p.blockM); i++) {
            for (let j = n; j < Math.min(p.seqlenK, n + p.blockN); j++) if (p.diagonalMin <= j - i && j - i <= p.diagonalMax) return true
          }
          return false
        }
        expectCounts(p, visited)
      }),
    )
  })

  it('equal a walk over the tiles that a block mask lists', () => {
    const problems = fc.record({
      seqlenQ: fc.integer({ min: 1, max: 600 }),
      seqlenK: fc.integer({ min: 1, max: 600 }),
      blockM: fc.constantFrom(16, 64, 128),
      blockN: fc.constantFrom(32, 64, 128),
      salt: fc.nat(20),
    })
    fc.assert(
      fc.property(problems, ({ salt, ...sizes }) => {
        const listed = (mBlock: number, nBlock: number) => (mBlock * 5 + nBlock * nBlock + salt) % 3 === 0
        const mask = listedMask(sizes.seqlenQ, sizes.seqlenK, 128, listed)
        const p = { ...square(0, 3), ...sizes, heads: 2, headDimV: 5, mask: new HeadMask(mask, 0, 0) }
        const visited = (m: number, n: number) => listed(Math.floor(m / 128), Math.floor(n / 128))
        expectCounts(p, visited)
        let [all, some] = [0, 0]
        for (let m = 0; m < p.seqlenQ; m += p.blockM) {
          for (let n = 0; n < p.seqlenK; n += p.blockN) {
            all++
            if (visited(m, n)) some++
          }
        }
        expect(visitedShare(p, p)).toBe(some / all)
      }),
    )
  })

  it('equal what attention in tiles loads when it runs', () => {
    const problems = fc.record({
      seqlenQ: fc.integer({ min: 1, max: 200 }),
      seqlenK: fc.integer({ min: 1, max: 200 }),
      diagonalMax: fc.constantFrom(Number.POSITIVE_INFINITY, 0, 40),
      blockM: fc.constantFrom(16, 32, 64),
      blockN: fc.constantFrom(16, 32, 64),
      salt: fc.nat(20),
    })
    fc.assert(
      fc.property(problems, ({ salt, ...p }) => {
        const [headDim, headDimV] = [2, 3]
        const mask = listedMask(p.seqlenQ, p.seqlenK, 64, (mBlock, nBlock) => (mBlock + 2 * nBlock + salt) % 3 !== 0)
        const head: HeadProblem = {
          ...{ ...p, headDim, headDimV, diagonalMin: Number.NEGATIVE_INFINITY, mask: new HeadMask(mask, 0, 0) },
          ...{
            softmaxScale: 1,
            softcap: 0,
            dropoutP: 0,
            dropoutThreshold: 0,
            seed: 0,
            batchHead: 0,
            alibiSlope: 0,
            sink: Number.NEGATIVE_INFINITY,
          },
        }
        const rows = (length: number, dim: number) => new CountedRows(length, dim)
        const [q, k, v] = [rows(p.seqlenQ, headDim), rows(p.seqlenK, headDim), rows(p.seqlenK, headDimV)]
        const { out, lse } = attentionForward(q, k, v, head, p)
        const problem = { ...square(0, 0), ...head }
        expect(4 * (q.loaded + k.loaded + v.loaded)).toBe(flashForwardIo(problem, p).loads)

        const [q2, k2, v2, dout] = [...[q, k, v].map((x) => rows(x.length, x.dim)), rows(p.seqlenQ, headDimV)] as [
          CountedRows,
          CountedRows,
          CountedRows,
          CountedRows,
        ]
        attentionBackward([{ problem: head, q: q2, dout, lse, delta: new Float64Array(out.length) }], k2, v2, p)
        // Besides: dO and O for delta, two statistics per row of a tile, and dQ, which is written to in place, from the second share on.
        const visits = q2.loaded / headDim
        const seen = (i: number) => (lse[i] as number) > Number.NEGATIVE_INFINITY
        const visitedRows = out.filter((_, i) =>
          out.some((_, other) => seen(other) && Math.floor(other / p.blockM) === Math.floor(i / p.blockM)),
        ).length
        const besides = 2 * p.seqlenQ * headDimV + 2 * visits + (visits - visitedRows) * headDim
        expect(4 * (q2.loaded + k2.loaded + v2.loaded + dout.loaded + besides)).toBe(flashBackwardIo(problem, p).loads)
      }),
      { numRuns: 50 },
    )
  })

  it('of standard attention add up its kernels one by one', () => {
    const problem = { ...square(0, 3), seqlenQ: 5, seqlenK: 7, headDimV: 2, heads: 2, bytesPerElement: 2 }
    const [s, q, k, v, o] = [5 * 7, 5 * 3, 7 * 3, 7 * 2, 5 * 2]
    // [loads, stores] of S = QKᵀ, mask, softmax, O = PV
    const forward = [
      [q + k, s],
      [s, s],
      [s, s],
      [s + v, o],
    ]
    // dV = PᵀdO, dP = dO·Vᵀ, dS = P∘(dP − delta), mask, dQ = dS·K, dK = dSᵀ·Q
    const backward = [
      [s + o, v],
      [o + v, s],
      [s + s, s],
      [s, s],
      [s + k, q],
      [s + q, k],
    ]
    const sum = (passes: number[][], i: number) => 4 * passes.reduce((a, pass) => a + (pass[i] as number), 0)
    expect(standardForwardIo(problem, { elementwisePasses: 1 })).toEqual({ loads: sum(forward, 0), stores: sum(forward, 1) })
    expect(standardBackwardIo(problem, { elementwisePasses: 1 })).toEqual({ loads: sum(backward, 0), stores: sum(backward, 1) })
  })
})

describe('growth (theorem 2)', () => {
  const lengths = [1024, 4096, 16384]
  const memories = [8192, 32768, 131072]

  // What crosses once per block of ⌈M/4d⌉ rows, 4Nd/M times: K and V; Q and O twice (O both ways); Q, dO and dQ both ways.
  it.each([
    ['forward, queries outside', 4 * 2, (p: IoProblem, m: number) => flashForwardIo(p, tilesForFastMemory(m, p.headDim, 'queries'))],
    ['forward, keys outside', 4 * 3, (p: IoProblem, m: number) => flashForwardIo(p, tilesForFastMemory(m, p.headDim, 'keys'), 'keys')],
    ['backward', 4 * 4, (p: IoProblem, m: number) => flashBackwardIo(p, tilesForFastMemory(m, p.headDim, 'keys'))],
  ])('flash %s: bytes over N²d²/M stay bounded and tend to %d elements', (_, constant, count) => {
    for (const headDim of [64, 128]) {
      for (const m of memories) {
        const ratios = lengths.map((n) => total(count(square(n, headDim), m)) / 4 / flashIoGrowth(n, headDim, m))
        // Above the constant by what crosses once (at most 6 N·d elements and the zeros of O) and by row statistics (at most 4 per 3 d elements).
        ratios.forEach((ratio, i) => {
          expect(ratio).toBeGreaterThan(constant * (1 - m / (4 * headDim * (lengths[i] as number)) - 1 / headDim))
          expect(ratio).toBeLessThan(constant * (1 + 4 / (2 * headDim)) + (7 * m) / (headDim * (lengths[i] as number)))
        })
      }
    }
  })

  it('standard: bytes over Nd + N² stay bounded', () => {
    for (const n of [16, 256, 4096, 65536]) {
      for (const [count, most] of [
        [standardForwardIo, 4],
        [standardBackwardIo, 8],
      ] as const) {
        const ratio = total(count(square(n, 64))) / 4 / standardIoGrowth(n, 64)
        expect(ratio).toBeGreaterThanOrEqual(4)
        expect(ratio).toBeLessThanOrEqual(most)
      }
    }
  })

  it('tends to half under a causal mask, and grows with N alone in a window', () => {
    const tiles = { blockM: 64, blockN: 64 }
    const [n, d] = [16384, 64]
    const full = total(flashForwardIo(square(n, d), tiles))
    const causal = total(flashForwardIo(square(n, d, { diagonalMax: 0 }), tiles))
    // 256 blocks: (256 + 1)/2 of 256 tiles per block of rows, and Q, O and lse besides.
    expect(causal / full).toBeCloseTo(0.5, 2)
    const windowed = [n, 2 * n].map((seqlen) => total(flashBackwardIo(square(seqlen, d, { diagonalMin: -256, diagonalMax: 0 }), tiles)))
    expect((windowed[1] as number) / (windowed[0] as number)).toBeCloseTo(2, 1)
  })
})

describe('growth of block-sparse attention (proposition 4)', () => {
  const [d, side] = [64, 64]
  const tiles = { blockM: side, blockN: side }
  const m = 4 * d * side
  const sparse = (n: number, listed: (mBlock: number, nBlock: number) => boolean) =>
    square(n, d, { mask: new HeadMask(listedMask(n, n, side, listed), 0, 0) })

  it.each([
    // Per tile: K and V; per query: Q, O and lse.
    ['forward', (p: IoProblem) => flashForwardIo(p, tiles), 2 * d + 1],
    // Per tile: Q, dO, dQ both ways, lse and delta; per position: O, dO and delta, K, V, dK and dV, and dQ's first load, which is none.
    ['backward', (p: IoProblem) => flashBackwardIo(p, tiles), (2 + 4 - 1) * d + 1],
  ])('%s: what s scales is exactly what tiles move', (_, count, perPosition) => {
    const n = 4096
    // One tile in 2^k of each row, every row some: s = 2^−k exactly.
    const moved = (k: number) => {
      const p = sparse(n, (mBlock, nBlock) => (mBlock + nBlock) % 2 ** k === 0)
      expect(visitedShare(p, tiles)).toBe(2 ** -k)
      return total(count(p)) / 4 - n * perPosition
    }
    const dense = moved(0)
    for (const k of [1, 2, 3, 4, 5]) expect(moved(k)).toBe(dense / 2 ** k)
  })

  it('bytes over Nd + N²d²s/M stay bounded for s from 1 to 1/64 and N from 4K to 16K', () => {
    for (const n of [4096, 16384]) {
      for (const k of [0, 2, 4, 6]) {
        const p = sparse(n, (mBlock, nBlock) => (mBlock + nBlock) % 2 ** k === 0)
        const growth = blockSparseIoGrowth(n, d, m, 2 ** -k)
        // M/4d rows to a tile: 4Nd·s/M visits of K and V, 2·4 elements each in units of N²d²s/M, and Q and O once.
        const forward = total(flashForwardIo(p, tiles)) / 4 / growth
        expect(forward).toBeGreaterThan(2)
        expect(forward).toBeLessThanOrEqual(8 * (1 + 1 / d))
        // Of Q, dO and dQ (twice) 4·4; once 5.
        const backward = total(flashBackwardIo(p, tiles)) / 4 / growth
        expect(backward).toBeGreaterThan(5)
        expect(backward).toBeLessThanOrEqual(16 * (1 + 1 / d))
      }
    }
  })

  it('is N·√N for s = 1/√N, and N·log N for the butterfly, s = log N/N, as the paper says', () => {
    const ratios = [4096, 16384, 65536].map((n) => {
      const blocks = n / side
      const root = Math.sqrt(blocks)
      const fixed = sparse(n, (mBlock, nBlock) => (mBlock - nBlock) % root === 0)
      // Block rows see the block columns that differ from them in at most one bit.
      const butterfly = sparse(n, (mBlock, nBlock) => ((mBlock ^ nBlock) & ((mBlock ^ nBlock) - 1)) === 0)
      return {
        fixed: total(flashForwardIo(fixed, tiles)) / (n * Math.sqrt(n)),
        butterfly: total(flashForwardIo(butterfly, tiles)) / (n * Math.log2(blocks)),
      }
    })
    for (const name of ['fixed', 'butterfly'] as const) {
      const [first, , last] = ratios.map((ratio) => ratio[name])
      // N is 16 times as large. What remains is the part that is linear in N, at most as large as the other at the start.
      expect(last).toBeLessThanOrEqual(first as number)
      expect(last).toBeGreaterThan((first as number) / 2)
    }
  })
})

/**
 * Figure 2 of the paper: GPT-2 medium's attention, N 1024, d 64, 16 heads, batch 64, fp16, forward and backward, measured on an
 * A100 with 192 KiB of SRAM per multiprocessor: 40.3 GB of HBM traffic for PyTorch, 4.4 GB for FlashAttention.
 */
describe('the example of the paper', () => {
  const problem: IoProblem = { ...square(1024, 64), heads: 64 * 16, bytesPerElement: 2 }
  const fastElements = (192 * 1024) / problem.bytesPerElement
  const gigabytes = (...counts: IoBytes[]) => counts.reduce((sum, count) => sum + total(count), 0) / 1e9
  const tiles = tilesForFastMemory(fastElements, 64, 'keys')
  const flash = gigabytes(flashForwardIo(problem, tiles, 'keys'), flashBackwardIo(problem, tiles))
  const standard = (elementwisePasses: number) =>
    gigabytes(standardForwardIo(problem, { elementwisePasses }), standardBackwardIo(problem, { elementwisePasses }))

  it('lies for standard attention between all passes fused (25 GB) and mask and dropout on their own (42 GB)', () => {
    expect(standard(0)).toBeLessThan(40.3)
    expect(standard(2)).toBeGreaterThan(40.3)
  })

  it('lies for flash attention above the model (4.0 GB), which has neither dropout nor spilling, by less than a fifth of it', () => {
    expect(flash).toBeLessThan(4.4)
    expect(flash * 1.2).toBeGreaterThan(4.4)
  })

  it('has its ratio between those of the model', () => {
    expect(standard(0) / flash).toBeLessThan(40.3 / 4.4)
    expect(standard(2) / flash).toBeGreaterThan(40.3 / 4.4)
  })
})
