// What the page of chromium.test.ts runs, in its own thread or in a worker: the small conformance suite, without a test runner.
import { conformanceCases, createOracle } from '@tilegrad/testing'
import { createWebGPUBackend } from './index'
import { LACKS } from './lacks.testing'

/** What the page found, for the test to judge. */
export interface PageReport {
  readonly info: unknown
  readonly passed: number
  readonly failures: readonly string[]
}

/** @param pattern of the groups to run; all by default */
async function runConformance(pattern = ''): Promise<PageReport> {
  const backend = await createWebGPUBackend()
  const oracle = createOracle()
  const failures: string[] = []
  let passed = 0
  for (const { group, name, run } of conformanceCases({ lacks: LACKS, sizes: 'small' })) {
    if (!new RegExp(pattern).test(group)) continue
    try {
      await run(backend, oracle)
      passed++
    } catch (error) {
      failures.push(`${group}, ${name}: ${error}`)
    }
  }
  await backend.dispose()
  return { info: backend.info, passed, failures }
}

/** The same in a worker of this file. */
function runInWorker(pattern = ''): Promise<PageReport> {
  return new Promise((resolve, reject) => {
    const worker = new scope.Worker(import.meta.url, { type: 'module' })
    worker.onmessage = ({ data }) => resolve(data)
    worker.onerror = ({ message }) => reject(new Error(message))
    worker.postMessage(pattern)
  })
}

/** What is used of a page's globals and of a worker's. */
interface Scope {
  readonly document?: unknown
  readonly Worker: new (url: string, options: { type: 'module' }) => WorkerHandle
  onmessage: (event: { data: string }) => void
  postMessage(report: PageReport): void
}

interface WorkerHandle {
  onmessage: (event: { data: PageReport }) => void
  onerror: (event: { message: string }) => void
  postMessage(pattern: string): void
}

const scope = globalThis as unknown as Scope
if (scope.document === undefined) scope.onmessage = async ({ data }) => scope.postMessage(await runConformance(data))
else Object.assign(globalThis, { runConformance, runInWorker })
