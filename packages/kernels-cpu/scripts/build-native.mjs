// @ts-check
// Builds the native addon into build/native/<platform>-<arch>/tilegrad.node. Where that is not possible it says why in one line, leaves
// the reason in reason.txt for createCpuBackend() to report, and succeeds: WebAssembly serves then.
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { lock } from './build-lock.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const native = join(root, 'native')
const target = `${process.platform}-${process.arch}`
const out = join(root, 'build', 'native', target)
const addon = join(out, 'tilegrad.node')
const reasonFile = join(out, 'reason.txt')
const logFile = join(out, 'failed.log')
// What native/build was configured with: another Node version, binding.gyp or folder configures anew, for makefiles hold paths.
const configuredFile = join(native, 'build', '.configured')
const require = createRequire(import.meta.url)

mkdirSync(out, { recursive: true })
const unlock = lock(join(root, 'build', '.native-lock'))
try {
  const reason = build()
  if (reason) leaveOut(reason)
  else for (const file of [reasonFile, logFile]) rmSync(file, { force: true })
} finally {
  unlock()
}

/** @returns {string | undefined} why there is no addon */
function build() {
  const missing = missingTool()
  if (missing) return missing
  const gyp = join(dirname(require.resolve('node-gyp/package.json')), 'bin', 'node-gyp.js')
  const prefix = dirname(dirname(process.execPath))
  const nodedir = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : []
  /** @param {string} step */
  const run = (step) => {
    const args = [gyp, step, '--jobs=2', '--loglevel=error', ...nodedir]
    const result = spawnSync(process.execPath, args, { cwd: native, encoding: 'utf8', maxBuffer: 1 << 28 })
    if (process.argv.includes('--verbose')) process.stdout.write(`${result.stdout}${result.stderr}`)
    return result
  }
  if (!isConfigured() || run('build').status !== 0) {
    // What makefiles say may be out of date in more ways than isConfigured() looks for: a build that fails is tried again from the beginning.
    rmSync(join(native, 'build'), { recursive: true, force: true })
    for (const step of ['configure', 'build']) {
      const { status, stdout, stderr } = run(step)
      if (status !== 0) {
        writeFileSync(logFile, `${stdout}${stderr}`)
        return `node-gyp ${step} failed: ${firstError(`${stderr}\n${stdout}`)} (all of it: build/native/${target}/failed.log)`
      }
      if (step === 'configure') writeFileSync(configuredFile, configuration())
    }
  }
  install(join(native, 'build', 'Release', 'tilegrad.node'))
  return undefined
}

/** @returns {string | undefined} */
function missingTool() {
  if (process.platform === 'win32') return 'Windows is not supported yet'
  if (!process.env.CXX && !works('g++') && !works('c++')) return 'no C++ compiler found; install g++ or clang++, or set CXX'
  if (process.env.CXX && !works(process.env.CXX)) return `CXX=${process.env.CXX} does not run`
  if (!works('make')) return 'make not found'
  if (!works(process.env.PYTHON ?? 'python3')) return 'python3 not found; node-gyp needs it'
  return undefined
}

/** @param {string} command */
function works(command) {
  return spawnSync(`${command} --version`, { shell: true, stdio: 'ignore' }).status === 0
}

function configuration() {
  return `${process.version} ${process.execPath} ${process.env.CXX ?? ''}\n${native}\n${readFileSync(join(native, 'binding.gyp'), 'utf8')}`
}

function isConfigured() {
  return existsSync(configuredFile) && readFileSync(configuredFile, 'utf8') === configuration()
}

/**
 * Puts the addon in place at once, for processes that have the old one mapped go on with it.
 * @param {string} built
 */
function install(built) {
  if (existsSync(addon) && statSync(addon).mtimeMs >= statSync(built).mtimeMs) return
  const aside = `${addon}.${process.pid}`
  copyFileSync(built, aside)
  renameSync(aside, addon)
}

/** @param {string} reason */
function leaveOut(reason) {
  rmSync(addon, { force: true })
  writeFileSync(reasonFile, `${reason}\n`)
  console.warn(`Native CPU kernels left out, WebAssembly serves instead: ${reason}`)
}

/** @param {string} output */
function firstError(output) {
  const lines = output.split('\n').map((line) => line.trim())
  return lines.find((line) => /\berror\b/i.test(line)) ?? lines.findLast((line) => line !== '') ?? 'no output'
}
