import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, type RunnerTask } from 'vitest'

/**
 * Declares the enclosing file (or `describe`) to be one of the suites of scripts/suites.mjs and writes
 * `reports/suites/<name>.json` when its tests are through, so that `npm test` can list which suites ran.
 *
 * @param unavailable Why this machine cannot run the suite, e.g. `no Chromium found`. Its tests should then be skipped.
 */
export function declareSuite(name: string, unavailable?: string): void {
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names of the first parameter as fixtures
  afterAll(({}, suite) => {
    const states = suite.tasks.flatMap(testStates)
    const ran = unavailable === undefined && states.some((state) => state === 'pass' || state === 'fail')
    const reason = ran ? undefined : (unavailable ?? 'every test in it was skipped')
    const folder = join(process.cwd(), 'reports', 'suites')
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, `${name}.json`), `${JSON.stringify({ name, ran, reason })}\n`)
  })
}

function testStates(task: RunnerTask): string[] {
  if (task.type === 'suite') return task.tasks.flatMap(testStates)
  return [task.result?.state ?? 'skip']
}
