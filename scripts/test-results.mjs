// @ts-check
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './paths.mjs'

/**
 * Sums vitest's JSON reports. A report that is missing and a test file that failed before its first test count as one
 * failure each: they must not look like success.
 * @param {string[]} folders with a `reports/vitest.json` each, relative to the repository
 */
export function sumResults(folders) {
  const total = { passed: 0, failed: 0, skipped: 0 }
  const problems = []
  for (const folder of folders) {
    const file = join(root, folder, 'reports', 'vitest.json')
    if (!existsSync(file)) {
      total.failed++
      problems.push(`${folder}: no test report; its build or its tests did not get to the end`)
      continue
    }
    const report = JSON.parse(readFileSync(file, 'utf8'))
    total.passed += report.numPassedTests
    total.failed += report.numFailedTests
    total.skipped += report.numPendingTests + report.numTodoTests
    for (const result of report.testResults) {
      if (result.status !== 'failed' || result.assertionResults.some((/** @type {{ status: string }} */ a) => a.status === 'failed'))
        continue
      total.failed++
      problems.push(`${result.name.replace(`${root}/`, '')}: ${result.message || 'failed outside its tests'}`)
    }
    if (!report.success && report.numFailedTests === 0 && problems.length === 0) {
      total.failed++
      problems.push(`${folder}: vitest reports a failure outside the tests`)
    }
  }
  return { ...total, problems }
}

/** @param {{ passed: number, failed: number, skipped: number }} total */
export function formatTotal({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}
