// @ts-check
// npm test: builds and tests everything from a fresh `npm ci`, then says which suites ran. The last line is the sum.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { installPrerequisites } from './install-prerequisites.mjs'
import { root, workspaces } from './paths.mjs'
import { readSuites } from './suites.mjs'
import { formatTotal, sumResults } from './test-results.mjs'
import { toolchainEnvironment, webgpuAdapter } from './toolchain.mjs'
import { turbo } from './turbo.mjs'

const folders = [...workspaces, '.']
// Records of an earlier run must not speak for this one; turbo puts back those of cached tests.
for (const folder of folders) rmSync(join(root, folder, 'reports'), { recursive: true, force: true })

// Where Vulkan drivers keep their sockets; those of Mesa complain if there is none.
const runtimeFolder = mkdtempSync(join(tmpdir(), 'tilegrad-runtime-'))
process.on('exit', () => rmSync(runtimeFolder, { recursive: true, force: true }))
process.env.XDG_RUNTIME_DIR ??= runtimeFolder

installPrerequisites()
// Tests that need an adapter are declared not to have run where this is empty.
process.env.TILEGRAD_WEBGPU = webgpuAdapter()
const workspacesCode = await turbo(['run', 'build', 'test', '--continue', '--concurrency=2', '--ui=stream', '--output-logs=new-only'])
const rootCode = testRoot()
report(workspacesCode === 0 && rootCode === 0)

/** The tests of the repository as a whole: layers, packed packages, README examples. */
function testRoot() {
  const vitest = join(root, 'node_modules/vitest/vitest.mjs')
  const { status } = spawnSync(process.execPath, [vitest, 'run', '--config', 'scripts/vitest.config.ts'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...toolchainEnvironment() },
  })
  return status ?? 1
}

/** @param {boolean} succeeded exit codes of the runs themselves */
function report(succeeded) {
  const total = sumResults(folders)
  const suites = readSuites()
  const missing = suites.filter(({ ran }) => !ran)
  const incomplete = missing.length > 0 && process.env.TILEGRAD_REQUIRE_ALL_SUITES === '1'
  if (!succeeded && total.failed === 0) {
    total.failed++
    total.problems.push('a build or test command failed without a failing test: see its output above')
  }
  console.log('')
  for (const problem of total.problems) console.log(`Failed: ${problem}`)
  console.log(
    `Suites that ran: ${
      suites
        .filter(({ ran }) => ran)
        .map(({ title }) => title)
        .join(', ') || 'none'
    }`,
  )
  console.log(`Suites that did NOT run: ${missing.length === 0 ? 'none' : ''}`)
  for (const { title, reason } of missing) console.log(`  ${title}: ${reason}`)
  if (incomplete) console.log('TILEGRAD_REQUIRE_ALL_SUITES is set, so a suite that did not run is a failure.')
  console.log(formatTotal(total))
  process.exitCode = total.failed === 0 && !incomplete ? 0 : 1
}
