import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  flashBackwardIo,
  flashForwardIo,
  flashIoGrowth,
  type IoBytes,
  type IoProblem,
  standardBackwardIo,
  standardForwardIo,
  standardIoGrowth,
  tilesForFastMemory,
} from './io-model'

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
        const { seqlenQ, seqlenK, headDim, headDimV, blockM, blockN } = p
        // Loads and stores of one head, in elements of matrices and of row statistics.
        const forward = { loads: 0, stores: 0, statLoads: 0, statStores: 0 }
        const keysOuter = { loads: 0, stores: seqlenQ * headDimV, statLoads: 0, statStores: 2 * seqlenQ }
        const backward = { loads: 2 * seqlenQ * headDimV, stores: 0, statLoads: 0, statStores: seqlenQ }
        const visited = (m: number, n: number) => {
          for (let i = m; i < Math.min(seqlenQ, m + blockM); i++) {
            for (let j = n; j < Math.min(seqlenK, n + blockN); j++) if (p.diagonalMin <= j - i && j - i <= p.diagonalMax) return true
          }
          return false
        }
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
      }),
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
