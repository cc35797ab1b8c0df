import { expect, it } from 'vitest'
import { judge, type Row } from '../results'
import { summarize } from '../timing'
import { planSparsity } from './plan'
import { sparsityPlot } from './plots'
import { sparsityGroups, sparsitySection } from './report'

const peak = { flopsPerSecond: 1e12, bytesPerSecond: 1e10, isa: 'avx2' }
const filters = {
  contenders: ['native'],
  threads: [2],
  samples: 5,
  seqlens: [4096],
  passes: ['forward', 'backward'],
  nHeads: 1,
  headDim: 64,
} as const

/** Rows of the plan with times of a share s of the dense second, a fixed hundredth, and what `extra` makes of s 1/4. */
function rowsOf(extra = 1): Row[] {
  return planSparsity(filters).map(({ subject }) => {
    const { kind, blocks, pass } = subject.parameters
    const s = kind === 'dense' ? 1 : kind === 'butterfly' ? 7 / 64 : Number(blocks) / 64
    const seconds = (pass === 'backward' ? 2 : 1) * (s === 1 / 4 ? extra : 1) * (s + (kind === 'dense' ? 0 : 0.01))
    const checks = [{ what: 'out', maxError: 0, allowed: 1, ok: true }]
    const memory = { processBytes: 0, tensorBytes: 0 }
    return judge(subject, { device: '', flops: 1e9 * s, bytes: null, checks, timing: summarize([seconds], 1), memory }, peak, 1)
  })
}

it('plans dense attention, s from 1 to 1/64 and a butterfly, for each pass', () => {
  expect(
    planSparsity({ ...filters, passes: ['forward'] }).map(({ subject }) => subject.name.replace('forward N 4096 H 1 D 64 ', '')),
  ).toEqual([...['dense', 's 1', 's 1/2', 's 1/4', 's 1/8', 's 1/16', 's 1/32', 's 1/64', 'butterfly']])
  const long = planSparsity({ ...filters, passes: ['forward'], seqlens: [65536] }).map(({ subject }) => subject.parameters)
  expect(long.map(({ blocks }) => blocks)).toEqual([undefined, 256, 128, 64, 32, 16, 8, undefined])
})

it('counts tiles and bytes of the masks that ran, and finds the fixed cost', () => {
  const [forward, backward] = sparsityGroups(rowsOf())
  expect(forward?.sparse.map(({ tiles }) => tiles)).toEqual([4096, 2048, 1024, 512, 256, 128, 64, 64 * 7])
  expect(forward?.cost.fixed).toBeCloseTo(0.01, 9)
  expect(backward?.cost.fixed).toBeCloseTo(0.02, 9)
  // Q and O once, lse once, K and V once for each row of tiles.
  const bytes = (tiles: number) => 4 * (2 * 4096 * 64 + 4096 + tiles * 2 * 64 * 64)
  expect(forward?.sparse.map((row) => row.bytes)).toEqual(forward?.sparse.map(({ tiles }) => bytes(tiles)))
  expect(forward?.dense.bytes).toBe(bytes(4096))
})

it('says how many times are within 1.15 × s × dense + fixed, beside the paper', () => {
  const text = sparsitySection(rowsOf()).join('\n')
  expect(text).toContain('| forward, N 4096 H 1 D 64, 2 threads | 1000 | 10.0 | 1.0 % | 1.00 × |')
  expect(text).toContain('| 8 of 8 |')
  expect(text).toContain('| balanced | 1/64 | 64 | 25.6 | 2.6 % | 92 % |')
  expect(text).toContain(
    '| 4096, 2 threads | 1/9.1 | 1000 / 119 = 8.4 × | 10.41 / 0.86 = 12.1 × | 3000 / 358 = 8.4 × | 37.49 / 4.12 = 9.1 × |',
  )
  expect(sparsitySection(rowsOf(1.5)).join('\n')).toContain('| 7 of 8 |')
})

it('has nothing to say without times', async () => {
  expect(sparsitySection([])).toEqual([])
  expect(await sparsityPlot([])).toBeNull()
})

it('draws', async () => {
  const drawn = await sparsityPlot(rowsOf())
  expect(drawn).toMatch(/^<svg/)
  expect(drawn).toContain('1/64')
})
