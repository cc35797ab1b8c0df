// @ts-check
import { execFileSync, spawnSync } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { root } from './paths.mjs'

/**
 * The file that running `names[0]`, else `names[1]`, … would start.
 * @param {string[]} names
 */
export function findCommand(...names) {
  for (const name of names) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      const file = join(folder, name)
      try {
        accessSync(file, constants.X_OK)
        return file
      } catch {}
    }
  }
  return undefined
}

/** Mesa's Vulkan drivers, among them one in software. */
export const MESA_VULKAN = 'mesa-vulkan-drivers'

/**
 * What suites need beyond npm, with the Debian package that holds each: programs, and what is asked for otherwise.
 * @type {{ what: string, commands?: string[], isThere?: () => boolean, debian: string, needed: string }[]}
 */
export const prerequisites = [
  { what: 'a C++ compiler', commands: ['g++', 'c++'], debian: 'g++', needed: 'the native addon' },
  { what: 'make', commands: ['make'], debian: 'make', needed: 'the native addon' },
  { what: 'Python 3', commands: ['python3'], debian: 'python3', needed: 'node-gyp, which builds the native addon' },
  { what: 'Chromium', commands: ['chromium', 'chromium-browser', 'google-chrome'], debian: 'chromium', needed: 'the browser suites' },
  { what: 'a driver for WebGPU', isThere: () => webgpuAdapter() !== '', debian: MESA_VULKAN, needed: 'the WebGPU suites' },
]

export function missingPrerequisites() {
  return prerequisites.filter(({ what, commands = [], isThere }) => {
    if (isThere) return !isThere()
    if (what === 'Chromium' && process.env.TILEGRAD_CHROMIUM) return false
    if (what === 'a C++ compiler' && process.env.CXX) return false
    return findCommand(...commands) === undefined
  })
}

/**
 * The adapter that WebGPU finds in Node, for people; empty if it finds none. Asked of the driver itself, in a process that it may crash: whether a
 * driver is good enough (Mesa 22 is not) cannot be told from its package.
 */
export function webgpuAdapter() {
  const ask = `
    const { create } = await import('webgpu')
    const adapter = await create([]).requestAdapter()
    const { vendor, architecture, device, description } = adapter?.info ?? {}
    process.stdout.write([vendor, architecture, description || device].filter(Boolean).join(' ') || (adapter ? 'unnamed' : ''), () => process.exit())`
  const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '--eval', ask], {
    cwd: root,
    encoding: 'utf8',
    timeout: 60_000,
  })
  return status === 0 ? stdout : ''
}

/** Debian, or what comes from it. */
export function isDebian() {
  return /^ID(_LIKE)?=.*debian/m.test(osRelease())
}

/** Debian 12, whose own Mesa is too old for WebGPU. */
export function isBookworm() {
  return /^ID=debian$/m.test(osRelease()) && /^VERSION_CODENAME=bookworm$/m.test(osRelease())
}

function osRelease() {
  try {
    return readFileSync('/etc/os-release', 'utf8')
  } catch {
    return ''
  }
}

/**
 * What the results of builds and tests depend on beside the repository; turbo hashes it, so that a build made without
 * a compiler is not taken from the cache once there is one.
 */
export function toolchainEnvironment() {
  const compiler = process.env.CXX ?? findCommand('g++', 'c++')
  const complete = compiler !== undefined && findCommand('make') && findCommand('python3')
  return {
    TILEGRAD_TOOLCHAIN: complete ? `${compiler} ${version(compiler)}, node ${process.version} ${process.platform} ${process.arch}` : 'none',
    TILEGRAD_CHROMIUM: process.env.TILEGRAD_CHROMIUM ?? findCommand('chromium', 'chromium-browser', 'google-chrome') ?? '',
  }
}

/** @param {string} compiler */
function version(compiler) {
  try {
    return execFileSync(compiler, ['-dumpfullversion', '-dumpversion'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return ''
  }
}
