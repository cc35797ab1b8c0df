// @ts-check
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, workspaces } from './paths.mjs'

/**
 * @typedef {Record<string, string>} Dependencies
 * @typedef {{
 *   name: string, version: string, private?: boolean, exports?: Record<string, any>, files?: string[], sideEffects?: boolean,
 *   bin?: Dependencies, scripts?: Dependencies, gypfile?: boolean,
 *   dependencies?: Dependencies, peerDependencies?: Dependencies, optionalDependencies?: Dependencies,
 * }} Manifest
 */

/** What npm would publish: workspaces that are not private. */
export const publishable = workspaces
  .map((folder) => ({ folder, manifest: readManifest(join(root, folder)) }))
  .filter(({ manifest }) => manifest.private !== true)

/**
 * @param {string} folder
 * @returns {Manifest}
 */
export function readManifest(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
}

/**
 * Packs every publishable package, as built, into `destination`.
 * @param {string} destination
 * @returns {{ name: string, version: string, tarball: string, size: number, files: string[] }[]}
 */
export function packAll(destination) {
  const selection = publishable.flatMap(({ folder }) => ['--workspace', folder])
  const result = run('npm', ['pack', '--json', '--pack-destination', destination, ...selection])
  if (result.status !== 0) throw new Error(`npm pack failed:\n${result.stdout}${result.stderr}`)
  /** @type {{ name: string, version: string, filename: string, size: number, files: { path: string }[] }[]} */
  const packed = JSON.parse(result.stdout)
  return packed.map(({ name, version, filename, size, files }) => ({
    name,
    version,
    tarball: join(destination, filename),
    size,
    files: files.map(({ path }) => path),
  }))
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {string} [cwd]
 */
export function run(command, args, cwd = root) {
  // A parent npm's settings (workspace selection, prefix, …) must not reach this one.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([key]) => !/^npm_(?!config_(registry|cache|userconfig|globalconfig)$)/i.test(key)),
  )
  return spawnSync(command, args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 })
}
