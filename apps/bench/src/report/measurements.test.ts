import { describe, expect, it } from 'vitest'
import { drawLines } from '../plot'
import { failed, judge, type Report } from '../results'
import { summarize } from '../timing'
import { measurementsOf } from './measurements'
import { cacheBytes } from './memory'
import { mergeReports, reportsByMachine } from './merge'

const peak = { flopsPerSecond: 100e9, bytesPerSecond: 10e9, isa: 'avx2' }
const shape = { pass: 'forward+backward', batchSize: 1, seqlenQ: 2048, seqlenK: 2048, nHeads: 2, headDim: 64, causal: false }
const name = 'forward+backward N 2048 H 2 D 64 full'
const row = (benchmark: string, contender: string, milliseconds: number, tensorBytes = 0, threads = 2) =>
  judge(
    { benchmark, name, contender, threads, parameters: shape },
    {
      device: '',
      flops: 1e8,
      bytes: benchmark === 'decoding' ? 1e7 : null,
      checks: [{ what: 'out', maxError: 0, allowed: 1, ok: true }],
      timing: summarize([milliseconds / 1e3], 1),
      memory: { processBytes: 0, tensorBytes },
      ...(benchmark === 'train' ? { profile } : {}),
    },
    peak,
    1,
  )
const profile = {
  milliseconds: 10,
  kernels: [{ kernel: 'matmul', shape: '2×2×2', calls: 4, milliseconds: 6, flops: 3e8, bytes: 3e7 }],
}
const machine = { cpu: 'x', cores: 2, caches: ['L1d 48K', 'L2 1024K'], memoryBytes: 2 ** 34, os: 'os', node: 'v20', commit: 'abc' }
const missing = failed({ benchmark: 'attention', name, contender: 'tfjs', threads: 2, parameters: shape }, peak, 'tfjs cannot be loaded')
const reportOf = (rows: Report['rows'], date = '2026-01-02T03:04', commit = 'abc'): Report => ({
  date,
  machine: { ...machine, commit },
  options: {},
  peaks: [{ ...peak, contender: 'native', threads: 2 }],
  rows,
  keptDisturbed: false,
})

describe('measurementsOf', () => {
  it('has a column for each contender, and reasons of rows without a time', () => {
    const text = measurementsOf(reportOf([row('attention', 'native', 2), missing]))
    expect(text).toContain('**forward+backward H 2 D 64 full, 2 threads**')
    expect(text).toContain('| N | native | tfjs |')
    expect(text).toContain('| 2048 | 2.00 / 50 / 50.0 % | no time (1) |')
    expect(text).toContain('(1) tfjs cannot be loaded')
  })

  it('sums attention up: shares of the peak, and leads over the fastest peer of the same runtime', () => {
    const rows = [row('attention', 'native', 2), row('attention', 'native', 4, 0, 1), row('attention', 'ort-node-mha', 5)]
    const others = [row('attention', 'ort-node-gqa', 3), row('attention', 'jax-js', 2.5), row('attention', 'ort-node-mha', 8, 0, 1)]
    expect(measurementsOf(reportOf([...rows, ...others]))).toContain('| native forward+backward, full |  | 25 … 50 % | 1.5 … 2.0× |')
  })

  it('compares thread counts', () => {
    expect(measurementsOf(reportOf([row('attention', 'native', 2), row('attention', 'native', 3, 0, 1)]))).toContain(
      `| ${name} | 3.00 | 2.00 | 1.50× |`,
    )
  })

  it('sets flash beside standard attention, with ratios beside those of the paper', () => {
    const inputs = (4 * 4 * 2 * 64 * 2048) / 2 ** 20
    const rows = [row('memory', 'native', 10, 2 ** 20), row('memory', 'standard-native', 25, 32 * 2 ** 20)]
    expect(measurementsOf(reportOf(rows))).toContain(
      `| ${name} | 10.0 | 25.0 | 2.50× | ${(1 + inputs).toFixed(1)} | ${(32 + inputs).toFixed(0)} | ${((32 + inputs) / (1 + inputs)).toFixed(1)}× (paper 10.6×) |`,
    )
    expect(measurementsOf(reportOf(rows))).toContain('At the measured memory peak of 10 GB/s, moving 100 MiB takes 10.5 ms.')
    const short = [row('small', 'native', 1), row('small', 'standard-native', 2)]
    expect(measurementsOf(reportOf(short))).toContain(`| ${name}, 2 threads | 1.00 | 2.00 | 2.00× |`)
  })

  it('gives bandwidth where memory bounds, and microseconds of calls', () => {
    expect(measurementsOf(reportOf([row('decoding', 'native', 2)]))).toContain(`| ${name} | 2 | native | 2.00 | 5.0 | 50.0 % |`)
    expect(measurementsOf(reportOf([row('overhead', 'native', 0.004)]))).toContain('no time: 25000 GFLOP/s is above the measured peak')
  })

  it("has a step's kernels and what lies between them", () => {
    const text = measurementsOf(reportOf([row('train', 'native', 10)]))
    expect(text).toContain('| matmul 2×2×2 | 4 | 6.00 | 60.0 % | 50 | 50.0 % | 5.0 | 50.0 % |')
    expect(text).toContain('| between kernels |  | 4.00 | 40.0 % |')
    expect(text).toContain('| the step | 4 | 10.00 | 100.0 % | 30 | 30.0 % |')
  })
})

describe('mergeReports', () => {
  const [early, late] = ['2026-01-02', '2026-01-03']

  it('takes rows of all, the latest of each that has a time', () => {
    const merged = mergeReports([
      reportOf([row('attention', 'native', 3), row('gemm', 'wasm', 9), missing], late, 'def'),
      reportOf([row('attention', 'native', 2), row('memory', 'native', 1), row('attention', 'tfjs', 5)], early),
    ])
    expect(merged.rows.map(({ benchmark, contender, timing }) => [benchmark, contender, timing?.median])).toEqual([
      ['attention', 'native', 0.003],
      ['memory', 'native', 0.001],
      ['attention', 'tfjs', 0.005],
      ['gemm', 'wasm', 0.009],
    ])
    expect(merged).toMatchObject({ date: late, machine: { commit: 'def and abc' } })
  })

  it('refuses runs of different machines', () => {
    const other = { ...reportOf([], late), machine: { ...machine, cpu: 'y' } }
    expect(() => mergeReports([reportOf([], early), other])).toThrow('different machines')
    expect(() => mergeReports([])).toThrow('at least one run')
  })

  it('keeps machines apart', () => {
    const other = { ...reportOf([row('webgpu', 'webgpu', 1)], late), machine: { ...machine, cpu: 'y' } }
    const merged = reportsByMachine([reportOf([row('attention', 'native', 3)], late), other, reportOf([row('memory', 'native', 1)], early)])
    expect(merged.map(({ machine: { cpu }, rows }) => [cpu, rows.length])).toEqual([
      ['x', 2],
      ['y', 1],
    ])
  })
})

it('reads cache sizes', () => {
  expect(cacheBytes(machine.caches, 'L1d')).toBe(48 * 1024)
  expect(cacheBytes(['L2 2M'], 'L2')).toBe(2 ** 21)
  expect(cacheBytes([], 'L2')).toBe(2 ** 20)
})

it('draws', async () => {
  const points = [{ series: 'native', seqlen: 512, value: 1 }]
  expect(await drawLines({ title: 't', y: 'GFLOP/s', logarithmic: true, points })).toMatch(/^<svg.*native/s)
})
