// @ts-check
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { root } from './paths.mjs'
import { build } from './turbo.mjs'

/**
 * Builds an app with what it depends on, then runs its command line in the folder where the user is.
 * @param {string} app folder under apps/
 * @param {string[]} args
 */
export async function runApp(app, args) {
  const workspace = `@tilegrad/${app}`
  if (!(await build(workspace))) {
    console.error(`${workspace} did not build: the reason is above. "npm ci" restores missing dependencies.`)
    process.exitCode = 1
    return
  }
  const child = spawn(process.execPath, [join(root, 'apps', app, 'dist/cli.js'), ...args], {
    cwd: process.env.INIT_CWD ?? process.cwd(),
    stdio: 'inherit',
  })
  // Ctrl-C reaches the child by itself; it decides how to end, and this process waits for it.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  process.on('SIGHUP', () => child.kill('SIGHUP'))
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1)
  })
}
