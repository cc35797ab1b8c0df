// @ts-check
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './paths.mjs'

/**
 * @typedef {{ status: string }} Assertion
 * @typedef {{ name: string, status: string, message?: string, assertionResults: Assertion[] }} TestFile
 * @typedef {{
 *   success: boolean, numPassedTests: number, numFailedTests: number, numPendingTests: number, numTodoTests: number, testResults: TestFile[],
 * }} VitestReport
 */

/**
 * Sums vitest's JSON reports. A missing report, a test file that failed outside its tests and an error outside all files count as one
 * failure each: they must not look like success.
 * @param {string[]} folders with a `reports/vitest.json` each, relative to `base`
 * @param {string} [base]
 */
export function sumResults(folders, base = root) {
  const total = { passed: 0, failed: 0, skipped: 0 }
  /** @type {string[]} */
  const problems = []
  for (const folder of folders) {
    const file = join(base, folder, 'reports', 'vitest.json')
    if (!existsSync(file)) {
      problems.push(`${folder}: no test report; its build or its tests did not get to the end`)
      continue
    }
    /** @type {VitestReport} */
    const report = JSON.parse(readFileSync(file, 'utf8'))
    total.passed += report.numPassedTests
    total.failed += report.numFailedTests
    total.skipped += report.numPendingTests + report.numTodoTests
    const outside = report.testResults.filter(failedOutsideItsTests)
    for (const { name, message } of outside) problems.push(`${name.replace(`${base}/`, '')}: ${message || 'failed outside its tests'}`)
    if (!report.success && report.numFailedTests === 0 && outside.length === 0)
      problems.push(`${folder}: vitest reports an error outside the tests`)
  }
  total.failed += problems.length
  return { ...total, problems }
}

/** @param {TestFile} file */
function failedOutsideItsTests({ status, assertionResults }) {
  return status === 'failed' && assertionResults.every((assertion) => assertion.status !== 'failed')
}

/** @param {{ passed: number, failed: number, skipped: number }} total */
export function formatTotal({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}
