import type { CpuBackend } from './backend'
import { type CpuBackendOptions, createBackend } from './create'

export type { CpuBackend } from './backend'
export type { CpuBackendOptions } from './create'
export type { KernelProfile } from './kernel-profile'
export { type CpuPeak, measurePeak } from './measure-peak'

/** For measurements, which compare instruction sets; applications leave the choice to the backend. */
export interface MeasurementOptions {
  /** `avx512`, `avx2`, `baseline` or `neon` with runtime 'native'; the best that there is by default. */
  readonly isa?: string
}

/**
 * Starts a backend on the CPU with threads of its own; `dispose()` ends them, and idle threads do not keep the process alive.
 *
 * @throws ArgumentError for options out of range; DeviceError if the chosen runtime cannot start, with causes and remedies.
 */
export function createCpuBackend(options: CpuBackendOptions & MeasurementOptions = {}): Promise<CpuBackend> {
  return createBackend(options, options.isa)
}
