import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './paths.mjs'

/** Runs vitest on test files of its own, to see what its reports and records say. */
export class VitestSandbox {
  // Inside the repository, so that the test files find vitest.
  readonly folder = mkdtempSync(join(root, 'node_modules', '.tilegrad-sandbox-'))

  /** Runs `code` as the one test file of the folder `name`, with `reports/vitest.json`. */
  run(name: string, code: string): void {
    const folder = join(this.folder, name)
    mkdirSync(folder)
    writeFileSync(join(folder, 'x.check.ts'), `import { afterAll, describe, it } from 'vitest'\n${code}\nafterAll(() => {})\ndescribe\n`)
    writeFileSync(join(folder, 'vitest.config.js'), "export default { test: { include: ['*.check.ts'], exclude: [] } }\n")
    const args = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--reporter=json', '--outputFile=reports/vitest.json']
    spawnSync(process.execPath, args, { cwd: folder, stdio: 'ignore' })
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
