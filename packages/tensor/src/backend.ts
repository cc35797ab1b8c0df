import type { DType, TypedArray } from './dtype'
import type { Kernels } from './kernels'
import type { Tensor } from './tensor'

/** What a backend runs on, for people and for logs. */
export interface BackendInfo {
  /** `cpu`, `webgpu`, `cuda` or `reference`. */
  readonly name: string
  /** The processor or adapter, e.g. `AMD EPYC`. */
  readonly device: string
  /** What drives it, e.g. `native avx512` or `wasm simd128 (native addon not built: …)`. */
  readonly driver: string
  /** Capabilities in use, e.g. `{ runtime: 'native', isa: 'avx512', threads: 2 }`. */
  readonly features: Readonly<Record<string, string | number | boolean>>
}

/** Bytes held on the device now, and the largest number held since the start or the last `resetPeakMemory()`. */
export interface MemoryInfo {
  readonly bytes: number
  readonly peakBytes: number
}

/**
 * A backend makes tensors and runs kernels on them. It does not differentiate (autograd does) and does not
 * know any other backend. An application makes one and passes it on: there is no global registry.
 *
 * Calls enqueue work in order and return at once; only `read` and `sync` wait.
 */
export interface Backend {
  readonly info: BackendInfo
  readonly kernels: Kernels

  /**
   * Copies `data` (row-major) to the device. Without `dtype`: Float32Array, Float64Array and number[] → f32, Int32Array → i32.
   * f16 and bf16 take a Uint16Array of raw bits.
   * @throws ShapeError if `data.length` is not the product of `shape`; DTypeError for an array that does not fit `dtype`.
   */
  tensor(data: TypedArray | readonly number[], shape: readonly number[], dtype?: DType): Tensor
  /** Uninitialised elements. */
  empty(shape: readonly number[], dtype?: DType): Tensor
  zeros(shape: readonly number[], dtype?: DType): Tensor

  /** Resolves when all work enqueued so far is done; rejects with the first error of it. */
  sync(): Promise<void>
  memory(): MemoryInfo
  resetPeakMemory(): void

  /**
   * Runs `fn` and disposes every tensor made in it that it does not return (alone, or in arrays, plain objects or
   * anything with a `tilegradTensors()` method). `fn` must be synchronous. Scopes nest.
   */
  scope<T>(fn: () => T): T
  /** Takes a tensor out of every open scope: its holder disposes it. Returns it. */
  keep<T extends Tensor>(tensor: T): T

  /** Frees everything, threads and device memory included. Pending reads reject with DisposedError. */
  dispose(): Promise<void>
}
