import { describe, expect, it } from 'vitest'
import { failed, formatRow, judge, type Measurement } from './results'
import { summarize } from './timing'

const measurement: Measurement = {
  device: 'cpu',
  flops: 2e9,
  bytes: 1e9,
  checks: [{ what: 'out', maxError: 1e-7, allowed: 2e-7, ok: true }],
  timing: summarize([0.5, 0.4, 0.6], 1),
  memory: { processBytes: 2 ** 20, tensorBytes: null },
}
const subject = { benchmark: 'attention', name: 'x', contender: 'native', threads: 2, parameters: {} }
const peak = { flopsPerSecond: 10e9, bytesPerSecond: 4e9, isa: 'avx2' }

describe('judge', () => {
  it('gives the median as shares of the peaks', () => {
    const expected = { flopsPerSecond: 4e9, shareOfPeak: 0.4, bytesPerSecond: 2e9, shareOfBandwidth: 0.5, rejected: null }
    expect(judge(subject, measurement, peak, 0)).toMatchObject(expected)
  })

  it.each([
    ['a wrong result', { checks: [{ what: 'dq', maxError: 1, allowed: 2e-7, ok: false }] }, 'dq is off by 1.0e+0, allowed 2.0e-7'],
    ['an unchecked result', { checks: [] }, 'nothing was checked'],
    ['more than the peak', { flops: 6e9 }, 'above the measured peak'],
    ['a busy machine', { timing: { ...measurement.timing, disturbed: 2 } }, 'disturbed 2 of 3 samples'],
  ])('gives %s no time', (_what, change, reason) => {
    const row = judge(subject, { ...measurement, ...change }, peak, 0)
    expect(row).toMatchObject({ timing: null, flopsPerSecond: null, shareOfPeak: null, bytesPerSecond: null })
    expect(row.rejected).toContain(reason)
    expect(formatRow(row)).toContain(reason)
    expect(formatRow(row)).not.toContain('500')
  })

  it('keeps disturbed times on request, marked, but never wrong results', () => {
    const busy = { ...measurement, timing: { ...measurement.timing, disturbed: 2 } }
    expect(formatRow(judge(subject, busy, peak, 0, true))).toContain('busy')
    expect(judge(subject, { ...busy, checks: [] }, peak, 0, true).timing).toBeNull()
  })
})

it('says why a row has no time', () => {
  expect(formatRow(failed(subject, peak, 'tfjs cannot be loaded'))).toContain('no time: tfjs cannot be loaded')
})
