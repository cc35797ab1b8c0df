// @ts-check
// Runs turbo with what its cache must know about this machine: `node scripts/turbo.mjs run build`.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './paths.mjs'
import { toolchainEnvironment } from './toolchain.mjs'

/**
 * @param {string[]} args
 * @param {{ quiet?: boolean }} [options] quiet: output only if it fails
 * @returns {number} exit code
 */
export function turbo(args, { quiet = false } = {}) {
  const bin = join(root, 'node_modules/turbo/bin/turbo')
  if (!existsSync(bin)) {
    console.error('Dependencies are not installed: run "npm ci" first.')
    process.exit(1)
  }
  const result = spawnSync(process.execPath, [bin, ...args], {
    cwd: root,
    stdio: ['ignore', quiet ? 'pipe' : 'inherit', quiet ? 'pipe' : 'inherit'],
    maxBuffer: 1 << 28,
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', ...toolchainEnvironment() },
  })
  if (result.error) throw result.error
  if (quiet && result.status !== 0) process.stderr.write(`${result.stdout}${result.stderr}`)
  return result.status ?? 1
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.exitCode = turbo(process.argv.slice(2))
