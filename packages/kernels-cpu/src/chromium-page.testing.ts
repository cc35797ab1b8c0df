// What the page of chromium.test.ts runs: the small conformance suite, without a test runner.
import { conformanceCases, createOracle } from '@tilegrad/testing'
import { createCpuBackend } from './index'

/** What the page found, for the test to judge. */
export interface PageReport {
  readonly crossOriginIsolated: boolean
  readonly info: unknown
  readonly passed: number
  readonly failures: readonly string[]
}

async function runConformance(): Promise<PageReport> {
  const backend = await createCpuBackend({ threads: 2 })
  const oracle = createOracle()
  const failures: string[] = []
  let passed = 0
  for (const { group, name, run } of conformanceCases({ sizes: 'small' })) {
    try {
      await run(backend, oracle)
      passed++
    } catch (error) {
      failures.push(`${group}, ${name}: ${error}`)
    }
  }
  await backend.dispose()
  return {
    crossOriginIsolated: (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === true,
    info: backend.info,
    passed,
    failures,
  }
}

Object.assign(globalThis, { runConformance })
