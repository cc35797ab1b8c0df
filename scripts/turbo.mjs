// @ts-check
// Runs turbo with what its cache must know about this machine: `node scripts/turbo.mjs run build`.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './paths.mjs'
import { toolchainEnvironment } from './toolchain.mjs'

/**
 * @param {string[]} args
 * @param {{ quiet?: boolean }} [options] quiet: output only if it fails
 * @returns {Promise<number>} exit code
 */
export async function turbo(args, { quiet = false } = {}) {
  const bin = join(root, 'node_modules/turbo/bin/turbo')
  if (!existsSync(bin)) {
    console.error('Dependencies are not installed: run "npm ci" first.')
    process.exit(1)
  }
  const child = spawn(process.execPath, [bin, ...args], {
    cwd: root,
    stdio: ['ignore', quiet ? 'pipe' : 'inherit', quiet ? 'pipe' : 'inherit'],
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', ...toolchainEnvironment() },
  })
  /** @type {Buffer[]} */
  const output = []
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => output.push(chunk))
  const [code] = await once(child, 'close')
  if (quiet && code !== 0) process.stderr.write(Buffer.concat(output))
  return code ?? 1
}

/**
 * Builds what `filter` selects and what it depends on, without a word unless it takes long or fails.
 * @param {string} [filter]
 * @returns {Promise<boolean>} whether it succeeded
 */
export async function build(filter) {
  const notice = setTimeout(() => console.error('Building (the first time takes a minute or two) …'), 2000)
  const selection = filter === undefined ? [] : [`--filter=${filter}`]
  const code = await turbo(['run', 'build', ...selection, '--ui=stream', '--output-logs=new-only'], { quiet: true })
  clearTimeout(notice)
  return code === 0
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.exitCode = await turbo(process.argv.slice(2))
