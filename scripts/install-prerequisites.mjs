// @ts-check
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { findCommand, isBookworm, isDebian, MESA_VULKAN, missingPrerequisites } from './toolchain.mjs'

const BACKPORTS = 'bookworm-backports'
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
    const fromBackports = packages.includes(MESA_VULKAN) && isBookworm()
    if (fromBackports) addBackports()
    aptUpdate()
    aptInstall(packages.filter((name) => !fromBackports || name !== MESA_VULKAN))
    if (fromBackports) aptInstall([`--target-release=${BACKPORTS}`, MESA_VULKAN])
  }
  for (const { what, debian, needed } of missingPrerequisites()) {
    const release = debian === MESA_VULKAN ? `; on bookworm with --target-release=${BACKPORTS}` : ''
    console.log(`Missing: ${what}, for ${needed} (Debian: apt-get install ${debian}${release}).`)
  }
}

/** Names Debian's backports as a source, unless one does. apt takes from there only what it is told to. */
function addBackports() {
  const { stdout } = spawnSync('apt-cache', ['policy'], { encoding: 'utf8' })
  if (stdout.includes(`n=${BACKPORTS}`)) return
  const keys = '/usr/share/keyrings/debian-archive-keyring.gpg'
  writeFileSync(
    '/etc/apt/sources.list.d/tilegrad-backports.list',
    `deb [signed-by=${keys}] http://deb.debian.org/debian ${BACKPORTS} main\n`,
  )
}

/** @param {string[]} packages */
function aptInstall(packages) {
  if (packages.length === 0) return true
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
