import { expect, it } from 'vitest'
import { drawLines } from './plot'
import { cacheBytes, measurementsOf } from './report'
import { failed, judge, type Report } from './results'
import { summarize } from './timing'

const peak = { flopsPerSecond: 100e9, bytesPerSecond: 10e9, isa: 'avx2' }
const shape = { pass: 'forward+backward', batchSize: 1, seqlenQ: 2048, seqlenK: 2048, nHeads: 1, headDim: 64, causal: false }
const row = (benchmark: string, contender: string, milliseconds: number, tensorBytes: number) =>
  judge(
    { benchmark, name: 'forward+backward N 2048 D 64 full', contender, threads: 2, parameters: shape },
    {
      device: '',
      flops: 1e8,
      bytes: null,
      checks: [{ what: 'out', maxError: 0, allowed: 1, ok: true }],
      timing: summarize([milliseconds / 1e3], 1),
      memory: { processBytes: 0, tensorBytes },
    },
    peak,
  )
const machine = { cpu: 'x', cores: 2, caches: ['L1d 48K', 'L2 1024K'], memoryBytes: 2 ** 34, os: 'os', node: 'v20', commit: 'abc' }
const broken = failed({ benchmark: 'attention', name: 'y', contender: 'tfjs', threads: 2, parameters: {} }, peak, 'tfjs cannot be loaded')
const rows = [
  row('attention', 'native', 2, 1),
  broken,
  row('memory', 'native', 10, 2 ** 20),
  row('memory', 'standard-native', 25, 32 * 2 ** 20),
]
const report: Report = {
  date: '2026-01-02T03:04',
  machine,
  options: {},
  peaks: [{ ...peak, contender: 'native', threads: 2 }],
  rows,
  keptDisturbed: false,
}

it('writes every row, with ratios to standard attention beside those of the paper', () => {
  const text = measurementsOf(report)
  expect(text).toContain('| 2 | forward+backward N 2048 D 64 full | native | 2.000 | 50 | 50.0 % |')
  expect(text).toContain('| tfjs | no time: tfjs cannot be loaded |')
  expect(text).toContain('| 10.00 | 25.00 | 2.50× | 3.0 | 34 | 11.3× (paper 10.6×) |')
})

it('reads cache sizes', () => {
  expect(cacheBytes(machine.caches, 'L1d')).toBe(48 * 1024)
  expect(cacheBytes(['L2 2M'], 'L2')).toBe(2 ** 21)
  expect(cacheBytes([], 'L2')).toBe(2 ** 20)
})

it('draws', async () => {
  expect(await drawLines([{ title: 't', series: 'native', seqlen: 512, gigaflops: 1 }])).toMatch(/^<svg.*native/s)
})
