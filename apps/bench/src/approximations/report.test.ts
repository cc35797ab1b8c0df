import { expect, it } from 'vitest'
import { failed, judge, type Row } from '../results'
import { summarize } from '../timing'
import { figureLines, planFigure, planKeyformer } from './plan'
import { figurePlot } from './plots'
import { figureSection, keyformerSection } from './report'

const peak = { flopsPerSecond: 1e12, bytesPerSecond: 1e10, isa: 'avx2' }
const filters = { contender: 'native', threads: [2], samples: 5 } as const
const figure = { ...filters, seqlens: [128, 2048], nHeads: 1, headDim: 64, lines: figureLines }
const checks = [{ what: 'out', maxError: 0, allowed: 1, ok: true }]

/** Flash takes a millisecond and 1 MiB beyond its inputs, Longformer a quarter of both, and all others twice as much. */
function figureRows(): Row[] {
  return planFigure(figure).map(({ subject }) => {
    const factor = subject.contender === 'flash' ? 1 : subject.contender === 'Longformer' ? 1 / 4 : 2
    if (subject.contender === 'standard' && subject.parameters.seqlenQ === 2048)
      return failed(subject, peak, 'its S × S matrices take 99 GiB')
    const memory = { processBytes: 0, tensorBytes: factor * 2 ** 20 }
    return judge(subject, { device: '', flops: 1e3, bytes: null, checks, timing: summarize([factor / 1e3], 1), memory }, peak, 1)
  })
}

it('has lines over N, and ratios beside those of the paper', () => {
  const text = figureSection(figureRows()).join('\n')
  expect(text).toContain('| N | standard | Linformer | Longformer | BigBird | flash | block-sparse flash |')
  expect(text).toContain('| 2048 | no time | 2.00 | 0.250 | 2.00 | 1.00 | 2.00 |')
  expect(text).toContain('standard, N 2048: no time, its S × S matrices take 99 GiB')
  expect(text).toContain('| 2048 | – / 3.3 | 2.0 / 0.44 | 0.25 / 1.1 | 2.0 / 1.1 | 2.0 / 0.20 |')
  // Inputs are 2 MiB at N 2048.
  expect(text).toContain('| 2048 |  | 4.0 | 2.3 | 4.0 | 3.0 | 4.0 |')
  expect(text).toContain('| 2048 | – / 11 | 1.3 / 2.0 | 0.75 / – | 1.3 / – | 1.3 / – |')
})

it('standard attention stops where memory ends', () => {
  const long = planFigure({ ...figure, seqlens: [2 ** 20] })
  expect(long.filter(({ impossible }) => impossible !== null).map(({ subject }) => subject.contender)).toEqual(['standard'])
  expect(long[0]?.impossible).toBe('its S × S matrices take 8192 GiB')
})

it('has tokens per second and errors of what Keyformer keeps', () => {
  const rows = planKeyformer({ ...filters, seqlens: [4096] }).map(({ subject }) => {
    const { cacheShare, correlation } = subject.parameters
    const timing = summarize([Number(cacheShare) / 100], 1)
    const memory = { processBytes: 0, tensorBytes: 0 }
    const relativeError = Number(correlation) > 0 ? 0.01 : 1 / Number(cacheShare)
    return judge(subject, { device: '', flops: null, bytes: null, checks, timing, memory, relativeError }, peak, 1)
  })
  const text = keyformerSection(rows).join('\n')
  expect(text).toContain('| 4096, 2 threads | all | 100 | 1.00 × |  |  |')
  expect(text).toContain('| 4096, 2 threads | 1/4 | 400 | 4.00 × | 400.0 % | 1.0 % |')
  expect(keyformerSection([])).toEqual([])
})

it('draws both panels, and nothing of one N', async () => {
  expect(await figurePlot(figureRows())).toMatch(/^<svg.*BigBird/s)
  expect(await figurePlot(figureRows().filter(({ parameters }) => parameters.seqlenQ === 128))).toBeNull()
  expect(figureSection([])).toEqual([])
})
