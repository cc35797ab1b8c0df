import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'

/** Threads that can run at the same time. */
export const allThreads = availableParallelism()

/** What a measurement must be read with. */
export interface Machine {
  readonly cpu: string
  /** Logical processors that this process may use. */
  readonly cores: number
  /** Of the first core, e.g. `L1d 48K`. Empty where the system does not say. */
  readonly caches: readonly string[]
  readonly memoryBytes: number
  readonly os: string
  readonly node: string
  /** Of the sources that ran, with `-dirty` if they were changed since. */
  readonly commit: string | null
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: allThreads,
    caches: caches(),
    memoryBytes: totalmem(),
    os: `${process.platform} ${process.arch} ${release()}`,
    node: process.version,
    commit: commit(),
  }
}

export function formatMachine(machine: Machine): string {
  const memory = `${Math.round(machine.memoryBytes / 2 ** 30)} GiB`
  return [`${machine.cpu}, ${machine.cores} cores`, machine.caches.join(' '), memory, machine.os, `Node ${machine.node}`]
    .filter(Boolean)
    .join(', ')
}

function caches(): string[] {
  const folder = '/sys/devices/system/cpu/cpu0/cache'
  try {
    return readdirSync(folder)
      .filter((entry) => entry.startsWith('index'))
      .sort()
      .map((entry) => {
        const read = (file: string) => readFileSync(join(folder, entry, file), 'utf8').trim()
        const kind = read('type')
        return `L${read('level')}${kind === 'Unified' ? '' : kind.charAt(0).toLowerCase()} ${read('size')}`
      })
  } catch {
    return []
  }
}

function commit(): string | null {
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', import.meta.dirname, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  try {
    return `${git('rev-parse', 'HEAD')}${git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '-dirty'}`
  } catch {
    return null
  }
}
