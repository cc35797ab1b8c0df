import type { DType, StridedHost, StridedTensor, Tensor } from '@tilegrad/tensor'
import type { CpuStorage } from './storage'

export type CpuTensor = StridedTensor<CpuStorage>

/**
 * What the TypeScript half of a kernel works with. A wrapper (src/kernels/<family>.ts) is a function
 * `(ctx: KernelContext) => Pick<Kernels, …>` whose methods check their arguments with @tilegrad/tensor's check functions, make
 * their results with `empty`, and enqueue C++ kernels with `run`. It does not clean up: when a method of `Kernels` returns,
 * the context disposes of its temporaries, and when it throws (out of memory, say), of everything that it made.
 */
export interface KernelContext {
  /** The first argument of every check function. */
  readonly backend: StridedHost<CpuStorage>
  /** Threads that run one kernel. Results must not depend on it. */
  readonly threads: number
  /** float32 lanes of a vector: 4, 8 or 16. */
  readonly lanes: number

  /** Enqueues a kernel of native/kernel-list.h. Booleans travel as 0 and 1, addresses come from `address`. */
  run(name: string, ...args: number[]): void
  /** A new contiguous tensor, uninitialised: a result, which the caller of the kernel owns. */
  empty(shape: readonly number[], dtype?: DType): CpuTensor
  /** As `empty`, and disposed when the kernel's method returns. What is enqueued by then may use it (memory is stream-ordered). */
  temporary(shape: readonly number[], dtype?: DType): CpuTensor
  /** A temporary copy of host data: a table that a kernel reads. */
  upload(data: Int32Array): CpuTensor
  /** The tensor itself if it is contiguous, else a temporary contiguous copy in its dtype. */
  contiguous(tensor: Tensor): CpuTensor
  /** Byte address of a tensor's first element, for `run`. Strides are `tensor.strides`, in elements. */
  address(tensor: Tensor): number
  /** Counts an in-place write to `tensor`: for `out`, `accumulateInto` and parameters. */
  touch(tensor: Tensor): void
  /** Throws UnsupportedError (`cpu: no kernel 'rope' for bf16`). */
  unsupported(kernel: string, what: string): never
}
