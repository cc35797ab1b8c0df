import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { conformanceCases } from '@tilegrad/testing'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chromiumPath, noChromium } from '../../../chromium.shared'
import { declareSuite } from '../../../suite.shared'
import { bundle } from './bundle.testing'
import type { PageReport } from './chromium-page.testing'

declareSuite('cpu-wasm-chromium', noChromium)

// The small suite takes a page a while on a busy machine, and nothing here is about speed.
const TIMEOUT = 600_000

describe.skipIf(noChromium)('headless Chromium', () => {
  let folder: string
  let server: Server
  let browser: Browser

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kernels-cpu-page-'))
    await bundle('./chromium-page.testing.ts', join(folder, 'dist'), 'browser')
    await cp(fileURLToPath(new URL('../build/wasm', import.meta.url)), join(folder, 'build', 'wasm'), { recursive: true })
    await writeFile(join(folder, 'page.html'), '<!doctype html><script type="module" src="./dist/chromium-page.testing.js"></script>')
    server = await serve(folder)
    browser = await chromium.launch({ executablePath: chromiumPath as string, args: flags })
  }, TIMEOUT)

  afterAll(async () => {
    await browser?.close()
    await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)))
    await rm(folder, { recursive: true, force: true })
  })

  async function runPage(path: string): Promise<PageReport> {
    const page = await browser.newPage()
    const problems: string[] = []
    page.on('pageerror', (error) => problems.push(String(error)))
    try {
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}/page.html`)
      await page.waitForFunction('typeof runConformance === "function"', undefined, { timeout: 30_000 }).catch((error) => {
        throw new Error(`the page did not load: ${problems.join('; ') || error}`)
      })
      return (await page.evaluate('runConformance()')) as PageReport
    } finally {
      await page.close()
    }
  }

  test(
    'a cross-origin isolated page runs the suite on threads',
    async () => {
      const { crossOriginIsolated, info, passed, failures } = await runPage('/isolated')
      expect(crossOriginIsolated).toBe(true)
      expect(info).toMatchObject({ driver: 'wasm relaxed-simd, 2 threads (the native addon needs Node)', features: { threads: 2 } })
      expect(failures).toEqual([])
      expect(passed).toBe(conformanceCases({ sizes: 'small' }).length)
    },
    TIMEOUT,
  )

  test(
    'another page runs it in its own thread, and says why',
    async () => {
      const { crossOriginIsolated, info, passed, failures } = await runPage('/plain')
      expect(crossOriginIsolated).toBe(false)
      expect(info).toMatchObject({
        driver: 'wasm relaxed-simd, 1 thread (the native addon needs Node; the page is not cross-origin isolated)',
        features: { threads: 1 },
      })
      expect(failures).toEqual([])
      expect(passed).toBe(conformanceCases({ sizes: 'small' }).length)
    },
    TIMEOUT,
  )
})

const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' }
const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }

/** Serves `root` twice: under /isolated with the headers that let a page share memory, and under /plain without. */
async function serve(root: string): Promise<Server> {
  const server = createServer(async (request, response) => {
    const [, site = '', ...path] = new URL(request.url ?? '/', 'http://localhost').pathname.split('/')
    const file = normalize(join(root, ...path))
    try {
      if (!file.startsWith(root)) throw new Error('outside')
      const body = await readFile(file)
      response.writeHead(200, {
        'Content-Type': types[extname(file)] ?? 'application/octet-stream',
        ...(site === 'isolated' ? isolation : {}),
      })
      response.end(body)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}
