import { describe, expect, it } from 'vitest'
import { formatRow, judge, type Measurement } from './results'
import { summarize } from './timing'

const measurement: Measurement = {
  name: 'x',
  parameters: {},
  flops: 2e9,
  checks: [{ what: 'out', maxError: 1e-7, allowed: 2e-7, ok: true }],
  timing: summarize([0.5, 0.4, 0.6], 1),
  standard: summarize([1, 1.5, 2], 1),
}

const setting = { backend: { name: 'cpu', device: '', driver: '', features: {} }, threads: 2, peakFlopsPerSecond: 10e9 }
const layout = { nameWidth: 10, standard: true }

describe('judge', () => {
  it('gives the median as a share of the peak and as a ratio to standard attention', () => {
    expect(judge(measurement, setting)).toMatchObject({ flopsPerSecond: 4e9, shareOfPeak: 0.4, speedup: 3, rejected: null })
  })

  it.each([
    ['a wrong result', { checks: [{ what: 'dq', maxError: 1, allowed: 2e-7, ok: false }] }, 'dq is off by 1.0e+0, allowed 2.0e-7'],
    ['more than the peak', { flops: 6e9 }, 'above the measured peak'],
  ])('gives %s no time', (_what, change, reason) => {
    const row = judge({ ...measurement, ...change }, setting)
    expect(row).toMatchObject({ timing: null, flopsPerSecond: null, shareOfPeak: null, speedup: null })
    expect(row.rejected).toContain(reason)
    expect(formatRow(row, layout)).toContain(reason)
    expect(formatRow(row, layout)).not.toContain('500')
  })
})
