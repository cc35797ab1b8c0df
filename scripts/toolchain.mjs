// @ts-check
import { execFileSync } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

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

/** Programs beyond npm's that suites need, with the Debian package that holds each. */
export const prerequisites = [
  { what: 'a C++ compiler', commands: ['g++', 'c++'], debian: 'g++', needed: 'the native addon' },
  { what: 'make', commands: ['make'], debian: 'make', needed: 'the native addon' },
  { what: 'Python 3', commands: ['python3'], debian: 'python3', needed: 'node-gyp, which builds the native addon' },
  { what: 'Chromium', commands: ['chromium', 'chromium-browser', 'google-chrome'], debian: 'chromium', needed: 'the browser suite' },
]

export function missingPrerequisites() {
  return prerequisites.filter(({ what, commands }) => {
    if (what === 'Chromium' && process.env.TILEGRAD_CHROMIUM) return false
    if (what === 'a C++ compiler' && process.env.CXX) return false
    return findCommand(...commands) === undefined
  })
}

export function isDebian() {
  try {
    return /^ID(_LIKE)?=.*debian/m.test(readFileSync('/etc/os-release', 'utf8'))
  } catch {
    return false
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
