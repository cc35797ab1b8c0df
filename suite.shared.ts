import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, type RunnerTask } from 'vitest'

/**
 * Declares the enclosing file (or `describe`) to be one of the suites of scripts/suites.mjs and records in
 * `reports/suites/<name>.json` whether it ran, so that `npm test` can list which suites did.
 *
 * @param unavailable Why this machine cannot run the suite, e.g. `no Chromium found`. Its tests should then be skipped.
 */
export function declareSuite(name: string, unavailable?: string): void {
  // Where all tests are skipped, vitest calls no hooks: this is then the last word.
  record(name, false, unavailable ?? 'all its tests were skipped, or it did not get to the end')
  if (unavailable !== undefined) return
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names of the first parameter as fixtures
  afterAll(({}, suite) => {
    if (suite.tasks.some(ran)) record(name, true)
  })
}

function ran(task: RunnerTask): boolean {
  if (task.type === 'suite') return task.tasks.some(ran)
  return task.result?.state === 'pass' || task.result?.state === 'fail'
}

function record(name: string, ran: boolean, reason?: string): void {
  const folder = join(process.cwd(), 'reports', 'suites')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify({ name, ran, reason })}\n`)
}
