import { expect, it } from 'vitest'
import type { Planned } from '../plan'
import { type Adapter, lackOf, webgpuContenders } from './adapter'
import { defaultWebGPU, planWebGPU } from './plan'

const software: Adapter = { device: 'lavapipe', software: true, f16: true, subgroupMatrix: '' }
const gpu: Adapter = { device: 'a GPU', software: false, f16: true, subgroupMatrix: 'f16 16×16×16, f32 8×8×8' }
const filters = {
  contenders: webgpuContenders,
  seqlens: undefined,
  headDims: undefined,
  causal: [false, true],
  passes: defaultWebGPU.pass,
  nHeads: 8,
  samples: 5,
  quick: false,
  cacheFolder: '',
}
const names = (rows: readonly Planned[]) => rows.map(({ subject }) => `${subject.benchmark}: ${subject.name}, ${subject.contender}`)

it('without an adapter, every contender says by name that it did not run', () => {
  const rows = planWebGPU(filters, 'WebGPU found no adapter')
  expect(rows.map(({ subject, impossible }) => [subject.contender, impossible])).toEqual(
    webgpuContenders.map((name) => [name, 'WebGPU found no adapter']),
  )
})

it('on an adapter in software, N goes to 4096, and what it lacks is said once', () => {
  const rows = planWebGPU(filters, software)
  expect(names(rows)).toContain('webgpu: backward N 4096 H 8 D 128 causal, webgpu:f16')
  expect(names(rows)).toContain('webgpu: forward N 4096 H 8 D 64 full, jax-js-webgpu')
  expect(names(rows)).toContain('webgpu: forward+backward N 2048 H 8 D 64 full, standard-webgpu')
  expect(names(rows)).toContain('webgpu-small: forward B 4 N 64 H 8 D 64 full, standard-webgpu')
  expect(names(rows)).toContain('webgpu-small: forward B 4 N 256 H 8 D 64 full, enqueued, webgpu')
  const missing = rows.filter(({ impossible }) => impossible !== null)
  expect(missing.map(({ subject, impossible }) => [subject.contender, impossible])).toEqual([
    ['webgpu:subgroup-matrix', 'lavapipe lacks subgroup matrices of f32'],
    ['webgpu:f16+subgroup-matrix', 'lavapipe lacks subgroup matrices of f16'],
  ])
  expect(rows.some(({ subject }) => Number(subject.parameters.seqlenQ) > 4096)).toBe(false)
  expect(new Set(names(rows)).size).toBe(rows.length)
})

it('on a GPU, N goes to 16,384, in both types, with and without subgroup matrices', () => {
  const rows = names(planWebGPU(filters, gpu))
  for (const contender of ['webgpu', 'webgpu:f16', 'webgpu:subgroup-matrix', 'webgpu:f16+subgroup-matrix']) {
    for (const pass of ['forward', 'backward']) {
      for (const headDim of [64, 128]) expect(rows).toContain(`webgpu: ${pass} N 16384 H 8 D ${headDim} full, ${contender}`)
    }
  }
  expect(rows.some((name) => /backward .*(ort-webgpu-mha)/.test(name) || /: backward .*(jax|standard)/.test(name))).toBe(false)
})

it('f16 needs shader-f16, and matrix units are of one type', () => {
  const nvidia = { ...gpu, subgroupMatrix: 'f16 16×16×16' }
  expect(lackOf(nvidia, 'webgpu:subgroup-matrix')).toBe('a GPU lacks subgroup matrices of f32')
  expect(lackOf(nvidia, 'webgpu:f16+subgroup-matrix')).toBeNull()
  expect(lackOf({ ...software, f16: false }, 'webgpu:f16')).toBe('lavapipe lacks shader-f16')
  expect(lackOf({ ...gpu, f16: false }, 'webgpu:f16+subgroup-matrix')).toBe('a GPU lacks shader-f16')
  expect(lackOf(software, 'standard-webgpu')).toBeNull()
})

it('given lengths are what every contender runs, and nothing else', () => {
  const rows = planWebGPU({ ...filters, seqlens: [300] }, software).filter(({ impossible }) => impossible === null)
  expect(new Set(rows.map(({ subject }) => subject.parameters.seqlenQ))).toEqual(new Set([300]))
  expect(names(rows)).toContain('webgpu: forward N 300 H 8 D 128 causal, jax-js-webgpu')
})
