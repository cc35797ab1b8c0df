// @ts-check
import { mkdirSync, rmSync, statSync } from 'node:fs'

/**
 * Keeps two builds of one folder apart. Waits while another holds the lock; one that is older than ten minutes was left by a build that died.
 * @param {string} folder
 * @returns {() => void} unlocks
 */
export function lock(folder) {
  for (;;) {
    try {
      mkdirSync(folder)
      return () => rmSync(folder, { recursive: true, force: true })
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error
      if (age(folder) > 600_000) rmSync(folder, { recursive: true, force: true })
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
    }
  }
}

/** @param {string} folder */
function age(folder) {
  return Date.now() - (statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
}
