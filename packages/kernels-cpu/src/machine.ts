import { importNode, isNode } from './node'

/** The processor and what of it this process may use. */
export interface Machine {
  readonly device: string
  /** Threads that can run at the same time. */
  readonly parallelism: number
  /** Bytes of memory, the container's limit if it has one. */
  readonly memoryBytes: number
}

export async function describeMachine(): Promise<Machine> {
  if (!isNode) {
    return {
      device: 'browser',
      parallelism: (globalThis as { navigator?: { hardwareConcurrency?: number } }).navigator?.hardwareConcurrency ?? 1,
      memoryBytes: Number.POSITIVE_INFINITY,
    }
  }
  const os = await importNode('os')
  const cores = os.availableParallelism()
  const limit = process.constrainedMemory?.() ?? 0
  // Without a limit, constrainedMemory() gives 0 or a number beyond any memory.
  const memoryBytes = limit > 0 ? Math.min(limit, os.totalmem()) : os.totalmem()
  return {
    device: os.cpus()[0]?.model.trim() || process.arch,
    parallelism: Math.max(1, Math.min(cores, await quotaOfContainer())),
    memoryBytes,
  }
}

/** Cores that the cgroup of this process may use at a time (v2, then v1): a quota of 1.5 can keep two threads partly busy. */
async function quotaOfContainer(): Promise<number> {
  const { readFile } = await importNode('fs/promises')
  const read = (file: string) => readFile(file, 'utf8').catch(() => '')
  const [quota, period] = (await read('/sys/fs/cgroup/cpu.max')).split(/\s+/)
  const v1 = (name: string) => read(`/sys/fs/cgroup/cpu/cpu.cfs_${name}_us`)
  const cores = quota ? Number(quota) / Number(period) : Number(await v1('quota')) / Number(await v1('period'))
  return cores > 0 ? Math.ceil(cores) : Number.POSITIVE_INFINITY
}
