import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { conformanceCases } from '@tilegrad/testing'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chromiumPath, noChromium } from '../../../chromium.shared'
import { declareSuite } from '../../../suite.shared'
import { bundle } from './bundle.testing'
import type { PageReport } from './chromium-page.testing'
import { LACKS } from './lacks.testing'

declareSuite('webgpu-chromium', noChromium)

// Chromium brings a WebGPU adapter in software (SwiftShader), whose pipelines take a while.
const TIMEOUT = 900_000
const flags = ['--headless=new', '--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--no-first-run']

// Groups of the suite to run alone, as a pattern, e.g. TILEGRAD_GROUPS='matmul|rope'.
const pattern = process.env.TILEGRAD_GROUPS ?? ''

describe.skipIf(noChromium)('headless Chromium', () => {
  let folder: string
  let server: Server
  let browser: Browser

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kernels-webgpu-page-'))
    await bundle('./chromium-page.testing.ts', folder)
    await writeFile(join(folder, 'page.html'), '<!doctype html><script type="module" src="./chromium-page.testing.js"></script>')
    server = await serve(folder)
    browser = await chromium.launch({ executablePath: chromiumPath as string, args: flags })
  }, TIMEOUT)

  afterAll(async () => {
    await browser?.close()
    await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)))
    await rm(folder, { recursive: true, force: true })
  })

  async function runPage(call: string): Promise<PageReport> {
    const page = await browser.newPage()
    const problems: string[] = []
    page.on('pageerror', (error) => problems.push(String(error)))
    try {
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/page.html`)
      await page.waitForFunction('typeof runConformance === "function"', undefined, { timeout: 30_000 }).catch((error) => {
        throw new Error(`the page did not load: ${problems.join('; ') || error}`)
      })
      return (await page.evaluate(call)) as PageReport
    } finally {
      await page.close()
    }
  }

  const casesOf = (groups: string) =>
    conformanceCases({ lacks: LACKS, sizes: 'small' }).filter(({ group }) => new RegExp(groups).test(group)).length

  test(
    'a page runs the suite',
    async () => {
      const { info, passed, failures } = await runPage(`runConformance(${JSON.stringify(pattern)})`)
      expect(info).toMatchObject({ name: 'webgpu', driver: 'WebGPU of the browser' })
      expect(failures).toEqual([])
      expect(passed).toBe(casesOf(pattern))
    },
    TIMEOUT,
  )

  test(
    'a worker runs what a page does',
    async () => {
      const { info, passed, failures } = await runPage(`runInWorker('backend|add and scale')`)
      expect(info).toMatchObject({ name: 'webgpu', driver: 'WebGPU of the browser' })
      expect(failures).toEqual([])
      expect(passed).toBe(casesOf('backend|add and scale'))
    },
    TIMEOUT,
  )
})

/** Serves the files of `root`. */
async function serve(root: string): Promise<Server> {
  const server = createServer(async (request, response) => {
    const name = basename(new URL(request.url ?? '/', 'http://localhost').pathname)
    try {
      const body = await readFile(join(root, name))
      response.writeHead(200, { 'Content-Type': name.endsWith('.html') ? 'text/html' : 'text/javascript' })
      response.end(body)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}
