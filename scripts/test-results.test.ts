import { afterAll, beforeAll, expect, it } from 'vitest'
import { formatTotal, sumResults } from './test-results.mjs'
import { VitestSandbox } from './vitest-sandbox'

/** Test files that pass, fail, skip and break. */
const files: Record<string, string> = {
  passes: "it('one', () => {}); it('two', () => {})",
  fails: "it('one', () => {}); it('two', () => { throw new Error('no') })",
  skips: "it('one', () => {}); it.skip('two', () => {}); it.todo('three')",
  breaks: "throw new Error('before the first test')",
  'breaks-afterwards': "it('one', () => {}); afterAll(() => { throw new Error('after the last test') })",
}
const sandbox = new VitestSandbox()

beforeAll(() => {
  for (const [name, code] of Object.entries(files)) sandbox.run(name, code)
})
afterAll(() => sandbox.dispose())

it.each([
  [['passes'], '2 passed, 0 failed'],
  [['fails'], '1 passed, 1 failed'],
  [['skips'], '1 passed, 0 failed, 2 skipped'],
  [['breaks'], '0 passed, 1 failed'],
  [['breaks-afterwards'], '1 passed, 1 failed'],
  [['passes', 'fails', 'breaks', 'skips'], '4 passed, 2 failed, 2 skipped'],
  [['passes', 'has-no-report'], '2 passed, 1 failed'],
])('sums %j', (folders, line) => {
  expect(formatTotal(sumResults(folders, sandbox.folder))).toBe(line)
})

it('names what failed outside a test', () => {
  const { problems } = sumResults(['breaks', 'has-no-report'], sandbox.folder)
  expect(problems).toEqual([
    expect.stringMatching(/breaks\/x\.check\.ts: .*before the first test/s),
    expect.stringMatching(/^has-no-report: /),
  ])
})
