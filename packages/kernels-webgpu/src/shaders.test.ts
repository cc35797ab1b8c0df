import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend } from './index'
import { shaders } from './kernels'
import { compilationErrors } from './pipelines'
import { assemble, combinations, defineShader, describeConstants, extensionsOf, locate } from './shader'

let backend: WebGPUBackend
beforeAll(async () => {
  backend = await createWebGPUBackend()
})
afterAll(() => backend?.dispose())

const featureOf = (extension: string) => (extension === 'f16' ? 'shader-f16' : extension.replaceAll('_', '-'))

describe.each(shaders.map((shader) => [shader.name, shader] as const))('%s.wgsl', (_name, shader) => {
  test(`compiles in its ${shader.variants.length} variants`, async () => {
    const problems: string[] = []
    for (const constants of shader.variants) {
      const missing = extensionsOf(constants).filter(
        (extension) => !(backend.device.features as ReadonlySet<string>).has(featureOf(extension)),
      )
      if (missing.length > 0) {
        console.log(`${shader.name}.wgsl [${describeConstants(constants)}] was not compiled: the device lacks ${missing.join(', ')}`)
        continue
      }
      const module = backend.device.createShaderModule({ code: assemble(shader, constants) })
      for (const error of await compilationErrors(module, shader, constants)) problems.push(`[${describeConstants(constants)}] ${error}`)
    }
    expect(problems.slice(0, 5).join('\n')).toBe('')
  })

  test('declares variants that differ, bindings in order, and entry points', () => {
    expect(new Set(shader.variants.map(describeConstants)).size).toBe(shader.variants.length)
    const { bindings, entries } = shader.interface
    expect(bindings.map(({ index }) => index)).toEqual(bindings.map((_, i) => i))
    expect(bindings.length).toBeLessThanOrEqual(8)
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
