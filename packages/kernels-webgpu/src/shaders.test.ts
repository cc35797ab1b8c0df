import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend } from './index'
import { shaders } from './kernels'
import { createNullDevice } from './null-device.testing'
import { compilationErrors } from './pipelines'
import { assemble, type Constants, combinations, defineShader, describeConstants, extensionsOf, locate, type Shader } from './shader'

let backend: WebGPUBackend
let nullDevice: GPUDevice
beforeAll(async () => {
  backend = await createWebGPUBackend()
  nullDevice = await createNullDevice()
})
afterAll(async () => {
  await backend?.dispose()
  nullDevice?.destroy()
})

const featureOf = (extension: string) => (extension === 'f16' ? 'shader-f16' : extension.replaceAll('_', '-'))

/** The adapter's device, or, for what it lacks, one that has every feature and runs nothing. */
function deviceFor(constants: Constants): GPUDevice {
  const { device } = backend
  const has = (extension: string) => (device.features as ReadonlySet<string>).has(featureOf(extension))
  return extensionsOf(constants).every(has) ? device : nullDevice
}

async function errorsOf(shader: Shader, constants: Constants): Promise<string[]> {
  const device = deviceFor(constants)
  device.pushErrorScope('validation')
  const module = device.createShaderModule({ code: assemble(shader, constants) })
  const errors = await compilationErrors(module, shader, constants)
  // Most of what is wrong with a shader that cannot run here shows when its pipelines are made.
  if (device === nullDevice && errors.length === 0) errors.push(...(await pipelineErrors(module, shader)))
  await device.popErrorScope()
  return errors
}

/** The null backend has default limits: shaders that take more workgroup memory are for adapters that have it. */
const beyondDefaultLimits = /total use of workgroup storage/

async function pipelineErrors(module: GPUShaderModule, shader: Shader): Promise<string[]> {
  const errors: string[] = []
  for (const entryPoint of shader.interface.entries) {
    const making = nullDevice.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint } })
    const error = await making.then(
      () => '',
      ({ message }: Error) => message,
    )
    if (error && !beyondDefaultLimits.test(error)) errors.push(`${entryPoint}: ${error}`)
  }
  return errors
}

describe.each(shaders.map((shader) => [shader.name, shader] as const))('%s.wgsl', (_name, shader) => {
  test(`compiles in its ${shader.variants.length} variants`, async () => {
    const problems: string[] = []
    for (const constants of shader.variants) {
      for (const error of await errorsOf(shader, constants)) problems.push(`[${describeConstants(constants)}] ${error}`)
    }
    expect(problems.slice(0, 5).join('\n')).toBe('')
  })

  test('declares variants that differ, bindings in order, and entry points', () => {
    expect(new Set(shader.variants.map(describeConstants)).size).toBe(shader.variants.length)
    const { bindings, entries } = shader.interface
    expect(bindings.map(({ index }) => index)).toEqual(bindings.map((_, i) => i))
    // the default limits of storage buffers and of storage textures
    expect(bindings.filter(({ kind }) => kind !== 'texture').length).toBeLessThanOrEqual(8)
    expect(bindings.filter(({ kind }) => kind === 'texture').length).toBeLessThanOrEqual(4)
    expect(entries.length).toBeGreaterThan(0)
  })
})

test('an error is shown at its line of the file that it is in', async () => {
  const library = { name: 'library.wgsl', text: 'fn one() -> f32 { return 1.0; }\n\nfn two() -> u32 { return 2.0; }' }
  const variants = combinations({ Element: ['f32'], SIZE: [4], FAST: [true] })
  const shader = defineShader('broken', '@compute @workgroup_size(SIZE)\nfn main() { _ = one(); }\n', variants, [library])
  const [constants] = variants as [(typeof variants)[number]]
  expect(assemble(shader, constants).split('\n').slice(0, 3)).toEqual(['alias Element = f32;', 'const SIZE = 4;', 'const FAST = true;'])
  backend.device.pushErrorScope('validation')
  const module = backend.device.createShaderModule({ code: assemble(shader, constants) })
  await backend.device.popErrorScope()
  const [error] = await compilationErrors(module, shader, constants)
  expect(error).toMatch(/^library\.wgsl:3:\d+: .*\n {2}fn two\(\) -> u32/)
  expect(locate(shader, constants, 1)).toEqual({ file: 'broken prelude', line: 1, text: 'alias Element = f32;' })
  expect(locate(shader, constants, 5)).toEqual({ file: 'broken.wgsl', line: 2, text: 'fn main() { _ = one(); }' })
})

test('what the adapter has no feature for is compiled all the same, with errors at their lines', async () => {
  const text =
    'fn zero() -> subgroup_matrix_result<f32, 8, 8> {\n  return ZERO;\n}\n@compute @workgroup_size(64)\nfn main() { _ = zero(); }\n'
  const broken = defineShader('matrices', text.replace('ZERO', 'subgroup_matrix_result<f32, 8, 16>()'), [{ SUBGROUP_MATRIX: true }])
  const [error] = await errorsOf(broken, { SUBGROUP_MATRIX: true })
  expect(error).toMatch(/^matrices\.wgsl:2:\d+: .*subgroup_matrix_result<f32, 8, 16>/)
  const narrow = defineShader('matrices', text.replace('ZERO', 'subgroup_matrix_result<f32, 8, 8>()'), [{ SUBGROUP_MATRIX: true }])
  if (deviceFor({ SUBGROUP_MATRIX: true }) === nullDevice) {
    expect(await errorsOf(narrow, { SUBGROUP_MATRIX: true })).toEqual([
      expect.stringContaining('must be a multiple of the device maxSubgroupSize'),
    ])
  }
})
