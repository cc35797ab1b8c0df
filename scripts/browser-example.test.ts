import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { extname, join, normalize } from 'node:path'
import { type Browser, chromium } from 'playwright-core'
import { build } from 'vite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LACKS } from '../packages/kernels-webgpu/src/lacks.testing'
import { declareSuite } from '../suite.shared'
import { packAll } from './packages.mjs'
import { PackedSandbox } from './packed-sandbox'
import { root } from './paths.mjs'
import { toolchainEnvironment } from './toolchain.mjs'

/** What packages/kernels-webgpu/examples/browser/check.js returns. */
interface Check {
  readonly device: string
  readonly results: readonly { readonly name: string; readonly error: number; readonly limit: number }[]
  readonly refused: readonly string[]
}

const executablePath = toolchainEnvironment().TILEGRAD_CHROMIUM
declareSuite('webgpu-example', executablePath ? undefined : 'no Chromium found; install it or set TILEGRAD_CHROMIUM')

const flags = ['--headless=new', '--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--no-first-run']

describe.skipIf(!executablePath)('the example of kernels-webgpu, with the packed package, in Chromium', () => {
  let sandbox: PackedSandbox
  let browser: Browser

  beforeAll(async () => {
    const tarballs = mkdtempSync(join(tmpdir(), 'tilegrad-tarballs-'))
    try {
      const packed = packAll(tarballs).filter(({ name }) => ['@tilegrad/tensor', '@tilegrad/kernels-webgpu'].includes(name))
      sandbox = new PackedSandbox()
      sandbox.install(Object.fromEntries(packed.map(({ name, tarball }) => [name, tarball])))
    } finally {
      rmSync(tarballs, { recursive: true, force: true })
    }
    cpSync(join(root, 'packages/kernels-webgpu/examples/browser'), sandbox.folder, {
      recursive: true,
      filter: (file) => !file.endsWith('package.json'),
    })
    browser = await chromium.launch({ executablePath, args: flags })
  })
  afterAll(async () => {
    await browser?.close()
    sandbox?.dispose()
  })

  async function open(folder: string): Promise<Record<string, Check>> {
    const server = await serve(folder)
    const page = await browser.newPage()
    const problems: string[] = []
    page.on('pageerror', (error) => problems.push(String(error)))
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
    try {
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/index.html`)
      const report = page.waitForFunction('document.body.dataset.report', undefined, { timeout: 240_000 })
      return JSON.parse(String(await (await report).jsonValue()))
    } catch (error) {
      throw new Error(`${error}\n${problems.join('\n')}`)
    } finally {
      await page.close()
      await new Promise((resolve) => server.close(resolve))
    }
  }

  function expectExact({ device, results, refused }: Check): void {
    expect(device).toMatch(/swiftshader/i)
    expect(results.filter(({ error, limit }) => !(error <= limit))).toEqual([])
    const kinds = LACKS.includes('attention') ? ['standard'] : ['standard', 'tiled']
    expect(results.map(({ name }) => name)).toEqual(kinds.flatMap((kind) => ['out', 'dq', 'dk', 'dv'].map((name) => `${kind} ${name}`)))
    expect(refused).toHaveLength(2 - kinds.length)
  }

  it('is right on a plain server, without a bundler', async () => {
    const report = await open(sandbox.folder)
    expect(Object.keys(report)).toEqual(['page'])
    expectExact(report.page as Check)
  })

  it('is right when Vite has bundled it, in the page and in a worker', async () => {
    await build({ root: sandbox.folder, logLevel: 'error', build: { target: 'es2022' }, worker: { format: 'es' }, configFile: false })
    const report = await open(join(sandbox.folder, 'dist'))
    expect(Object.keys(report)).toEqual(['page', 'worker'])
    expectExact(report.page as Check)
    expectExact(report.worker as Check)
  })
})

const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json' }

/** Serves the files of a folder as they are. */
async function serve(folder: string): Promise<Server> {
  const server = createServer(async (request, response) => {
    const file = normalize(join(folder, new URL(request.url ?? '/', 'http://localhost').pathname))
    try {
      if (!file.startsWith(folder)) throw new Error('outside')
      const body = await readFile(file)
      response.writeHead(200, { 'Content-Type': types[extname(file)] ?? 'application/octet-stream' }).end(body)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}
