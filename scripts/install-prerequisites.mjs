// @ts-check
import { spawnSync } from 'node:child_process'
import { findCommand, isDebian, missingPrerequisites } from './toolchain.mjs'

const lockWait = '--option=DPkg::Lock::Timeout=300'

/**
 * Installs what suites need beyond npm where that is ours to do (Debian, as root, not switched off with
 * TILEGRAD_NO_APT=1); elsewhere names what is missing. Never fails: a suite that then cannot run says so itself.
 */
export function installPrerequisites() {
  const missing = missingPrerequisites()
  if (missing.length === 0) return
  const packages = missing.map(({ debian }) => debian)
  const mayInstall = isDebian() && process.getuid?.() === 0 && findCommand('apt-get') && process.env.TILEGRAD_NO_APT !== '1'
  if (mayInstall) {
    console.log(`Installing ${packages.join(', ')} with apt-get: suites need them.`)
    aptUpdate()
    if (aptInstall(packages)) return
  }
  for (const { what, debian, needed } of missingPrerequisites()) {
    console.log(`Missing: ${what}, for ${needed} (Debian: apt-get install ${debian}).`)
  }
}

/** @param {string[]} packages */
function aptInstall(packages) {
  return apt(['install', '--yes', '--quiet', '--no-install-recommends', lockWait, ...packages])
}

/** `apt-get update` does not wait for another apt's lock on the lists, so it is tried again. */
function aptUpdate() {
  for (let attempt = 1; attempt <= 4; attempt++) {
    if (apt(['update', '--quiet', lockWait])) return
    spawnSync('sleep', [String(5 * attempt)])
  }
}

/** @param {string[]} args */
function apt(args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const result = spawnSync('apt-get', args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', maxBuffer: 1 << 26, env })
  if (result.status !== 0) console.log(`apt-get ${args[0]} failed: ${result.stderr.trim().split('\n').slice(-3).join('\n')}`)
  return result.status === 0
}
