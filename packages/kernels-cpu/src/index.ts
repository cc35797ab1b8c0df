import type { CpuBackend } from './backend'
import { type CpuBackendOptions, createBackend } from './create'

export type { CpuBackend, KernelProfile } from './backend'
export type { CpuBackendOptions } from './create'
export { type CpuPeak, measurePeak } from './measure-peak'

/**
 * Starts a backend on the CPU with threads of its own; `dispose()` ends them, and idle threads do not keep the process alive.
 *
 * @throws ArgumentError for options out of range; DeviceError if the chosen runtime cannot start, with causes and remedies.
 */
export function createCpuBackend(options: CpuBackendOptions = {}): Promise<CpuBackend> {
  return createBackend(options)
}
