import { expect, it } from 'vitest'
import { algorithms, type ErrorRow, results } from './errors'
import { curves } from './loss-curves'
import { errorsOverLogitScale, errorsOverSeqlen, lossCurves } from './plots'
import { generatedParts, type PrecisionReports, withGenerated } from './report'

const machine = { cpu: 'x', cores: 2, caches: [], memoryBytes: 2 ** 34, os: 'os', node: 'v20', commit: 'abc' }
const date = '2026-01-02T03:04'
const rows: ErrorRow[] = [128, 2048].flatMap((seqlen) =>
  algorithms.flatMap((algorithm) =>
    results
      .filter((what) => !(algorithm === 'standard' && what === 'lse'))
      .map((what) => ({ algorithm, what, seqlen, logitScale: 4, maxError: 2e-6, rmsError: algorithm === 'flash' ? 1e-7 : 3e-7 })),
  ),
)
const shape = { context: 8, batchSize: 1, dModel: 8, nLayers: 1, nHeads: 1, lr: 1e-3 }
const reports: PrecisionReports = {
  errors: { date, machine, device: 'native', headDim: 64, causal: false, rows },
  sources: {
    date,
    machine,
    seqlen: 512,
    headDim: 64,
    rows: (['dq', 'dk', 'dv'] as const).map((what, i) => ({ source: 'lse', logitScale: 16, what, maxError: 1, rmsError: i * 1e-6 })),
  },
  losses: {
    ...shape,
    date,
    machine,
    device: 'native',
    data: 'd',
    steps: 2,
    curves: curves.map((name, i) => ({ name, losses: [5, 4 + (1 - i) * 1e-6], weightDistance: i })),
  },
}

it('tables every N and logit scale with all algorithms, sources and differences of losses', () => {
  const parts = generatedParts(reports)
  expect(parts['RMS errors']).toContain('| 128 | 4 | 1.0e-7 / 3.0e-7 / 3.0e-7 | 1.0e-7 / – / 3.0e-7 |')
  expect(parts['max errors']).toContain('| 2048 | 4 | 2.0e-6 / 2.0e-6 / 2.0e-6 |')
  expect(parts.sources).toContain('| lse | 0 / 1.0e-6 / 2.0e-6 |')
  expect(parts.losses).toContain('| 2 | 4.000000 | +1.0e-6 | -1.0e-6 |')
})

it('replaces generated parts, keeps prose, and refuses a text without a place for one', () => {
  const text = 'a\n<!-- generated: x -->\nold\n<!-- /generated -->\nb\n<!-- generated: y -->\nkept\n<!-- /generated -->\n'
  const once = withGenerated(text, { x: '$1 new' })
  expect(once).toBe(text.replace('old\n', '\n$$1 new\n\n'))
  expect(withGenerated(once, { x: '$1 new' })).toBe(once)
  expect(() => withGenerated(text, { z: '' })).toThrow('generated: z')
})

it('draws', async () => {
  for (const svg of [await errorsOverSeqlen(rows), await errorsOverLogitScale(rows, 2048), await lossCurves(reports.losses)]) {
    expect(svg).toMatch(/^<svg.*standard/s)
  }
})
