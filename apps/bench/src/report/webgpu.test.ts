import { expect, it } from 'vitest'
import { failed, judge, type Row } from '../results'
import { summarize } from '../timing'
import { webgpuSection, webgpuSmallSection } from './webgpu'

const gpu = { flopsPerSecond: 20e12, bytesPerSecond: 1e12, isa: 'a GPU' }
const software = { flopsPerSecond: 60e9, bytesPerSecond: 5e9, isa: 'lavapipe' }
const shape = { batchSize: 1, seqlenQ: 2048, seqlenK: 2048, nHeads: 8, headDim: 64, causal: false }
const name = 'forward N 2048 H 8 D 64 full'

function row(contender: string, milliseconds: number, peak = gpu, change: { until?: string; beyondPeak?: boolean } = {}): Row {
  const { until = 'done', beyondPeak = false } = change
  return judge(
    {
      benchmark: 'webgpu',
      name: until === 'done' ? name : `${name}, ${until}`,
      contender,
      threads: 0,
      parameters: { ...shape, pass: 'forward', until },
    },
    {
      device: '',
      flops: until === 'done' ? 1e10 : null,
      bytes: null,
      checks: [{ what: 'out', maxError: 0, allowed: 1, ok: true }],
      timing: summarize([milliseconds / 1e3], 1),
      memory: { processBytes: 0, tensorBytes: null },
      beyondPeak,
    },
    peak,
    1,
  )
}

it('gives TFLOP/s of a GPU by name, and no share of a peak that matrix units are not bound by', () => {
  const wrong = failed({ ...row('ort-webgpu-mha', 1) }, gpu, 'out is off by 1.0e+0, allowed 1.0e-6')
  const text = webgpuSection([row('webgpu', 1), row('webgpu:subgroup-matrix', 0.25, gpu, { beyondPeak: true }), wrong]).join('\n')
  expect(text).toContain('On a GPU.')
  expect(text).toContain('| N | webgpu | webgpu:subgroup-matrix | ort-webgpu-mha |')
  expect(text).toContain('| 2048 | 1.00 / 10.0 / 50.0 % | 0.250 / 40.0 | no time (1) |')
  expect(text).toContain('(1) out is off by 1.0e+0')
})

it('gives GFLOP/s in software, and leads over the fastest peer that is right', () => {
  const text = webgpuSection([row('webgpu', 400, software), row('jax-js-webgpu', 2000, software)]).join('\n')
  expect(text).toContain('| 2048 | 400 / 25 / 41.7 % | 2000 / 5.0 / 8.3 % |')
  expect(text).toContain('| webgpu forward, full |  | 42 % | 5.0× |')
})

it('sets launches beside passes of standard attention', () => {
  const rows = [row('webgpu', 1), row('standard-webgpu', 2), row('webgpu', 0.05, gpu, { until: 'enqueued' })]
  expect(webgpuSmallSection(rows).join('\n')).toContain(`| ${name} | 50.0 | 1.00 | 2.00 | 2.00× | 2.5 % |`)
})
