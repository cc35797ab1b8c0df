import type { Allocator } from './allocator'
import type { CommandRing } from './command-ring'

/** A command queue, the threads that run it and the memory that it works on: the native addon's or WebAssembly's. */
export interface Engine {
  readonly runtime: 'native' | 'wasm'
  /** `avx512`, `avx2`, `baseline`, `neon`, `relaxed-simd` or `simd128`. */
  readonly isa: string
  /** float32 lanes of a vector. */
  readonly lanes: number
  readonly threads: number
  /** Why it is less than was asked for. */
  readonly note?: string | undefined
  /** Names of the kernels; a kernel's index in it is its command. */
  readonly kernels: readonly string[]
  readonly ring: CommandRing
  readonly allocator: Allocator
  /** Copies into a block that no pending command touches. */
  write(address: number, data: Uint8Array): void
  /** Copies out what lies at `address` when everything submitted so far is done. */
  read(address: number, into: Uint8Array): Promise<void>
  /** Ends the threads after the command that runs now, frees all memory; then pending fences reject with DisposedError. */
  dispose(): Promise<void>
}

export interface EngineOptions {
  readonly threads: number
  readonly maxBytes: number
}
