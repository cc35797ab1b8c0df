import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { root, workspaces } from './paths.mjs'
import { suites } from './suites.mjs'
import { VitestSandbox } from './vitest-sandbox'

const imports = `import { declareSuite } from ${JSON.stringify(join(root, 'suite.shared.ts'))}`
const files: Record<string, string> = {
  passes: "declareSuite('a'); it('one', () => {})",
  fails: "declareSuite('a'); it('one', () => { throw new Error('no') })",
  skips: "declareSuite('a'); it.skip('one', () => {})",
  unavailable: "declareSuite('a', 'no device'); it.skip('one', () => {})",
  nested:
    "describe('x', () => { declareSuite('a'); describe('y', () => { it('one', () => {}) }) }); describe('z', () => { it.skip('two', () => {}) })",
  breaks: "declareSuite('a'); throw new Error('before the first test')",
}
const sandbox = new VitestSandbox()

beforeAll(() => {
  for (const [name, code] of Object.entries(files)) sandbox.run(name, `${imports}\n${code}`)
})
afterAll(() => sandbox.dispose())

it.each([
  ['passes', { name: 'a', ran: true }],
  ['fails', { name: 'a', ran: true }],
  ['skips', { name: 'a', ran: false, reason: 'all its tests were skipped, or it did not get to the end' }],
  ['unavailable', { name: 'a', ran: false, reason: 'no device' }],
  ['nested', { name: 'a', ran: true }],
  ['breaks', { name: 'a', ran: false, reason: 'all its tests were skipped, or it did not get to the end' }],
])('a suite that %s leaves the record %j', (folder, record) => {
  expect(JSON.parse(readFileSync(join(sandbox.folder, folder, 'reports/suites/a.json'), 'utf8'))).toEqual(record)
})

it('lists suites of workspaces that exist, once each', () => {
  expect(new Set(suites.map(({ name }) => name)).size).toBe(suites.length)
  for (const { workspace } of suites) expect([...workspaces, '.']).toContain(workspace)
})
