// @ts-check
import { readFileSync } from 'node:fs'

/**
 * The ```ts blocks of a Markdown file: the examples that tests run. Other fences (```text, ```sh) are not run.
 * @param {string} file
 */
export function readExamples(file) {
  return [...readFileSync(file, 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => /** @type {string} */ (code))
}
