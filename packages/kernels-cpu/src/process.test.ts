import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundle } from './bundle.testing'
import { nativeIsas } from './native'
import { wasmIsas } from './wasm-module'

const run = promisify(execFile)
const isas = await nativeIsas()
// A package like the published one, without a native addon.
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kernels-cpu-'))
  await bundle('./exits.child.testing.ts', join(folder, 'dist'), 'node')
  await cp(fileURLToPath(new URL('../build/wasm', import.meta.url)), join(folder, 'build', 'wasm'), { recursive: true })
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function child(runtime: string, threads: number) {
  const { stdout } = await run(process.execPath, [join(folder, 'dist', 'exits.child.testing.js'), runtime, String(threads)], {
    timeout: 30_000,
  })
  return JSON.parse(stdout) as { sum: number[]; driver: string; reason?: string }
}

describe('a process that does not dispose of its backend ends by itself', () => {
  test.each([1, 2])('wasm with %d threads', async (threads) => {
    expect((await child('wasm', threads)).sum).toEqual([2, 4, 6])
  })

  test.skipIf(isas.length === 0).each([1, 3])('native with %d threads', async (threads) => {
    const built = join(folder, 'build', 'native')
    await cp(fileURLToPath(new URL('../build/native', import.meta.url)), built, { recursive: true })
    try {
      expect((await child('native', threads)).sum).toEqual([2, 4, 6])
    } finally {
      await rm(built, { recursive: true })
    }
  })
})

describe('without the native addon', () => {
  test("'auto' takes WebAssembly and says why", async () => {
    const { sum, driver, reason } = await child('auto', 2)
    expect(sum).toEqual([2, 4, 6])
    expect(reason).toBe(`native addon not built: no build for ${process.platform}-${process.arch}`)
    expect(driver).toBe(`wasm ${wasmIsas()[0]}, 2 threads (${reason})`)
  })

  test("'native' fails with causes and remedies", async () => {
    await expect(child('native', 2)).rejects.toThrow(
      /runtime 'native' is not available: native addon not built(.|\n)*build it:(.|\n)*'wasm'/,
    )
  })
})
