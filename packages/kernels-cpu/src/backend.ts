import {
  type BackendInfo,
  bytesPerElement,
  checkShape,
  DisposedError,
  type DType,
  isContiguous,
  type Kernels,
  type MemoryInfo,
  numel,
  ScopeStack,
  type StridedHost,
  StridedTensor,
  type Tensor,
  type TypedArray,
} from '@tilegrad/tensor'
import type { Engine } from './engine'
import { arrayOf, bytesOf, toElements } from './host-data'
import type { CpuTensor, KernelContext } from './kernel-context'
import { type KernelProfile, ProfileEntries } from './kernel-profile'
import { KernelRunner } from './kernel-runner'
import { createKernels } from './kernels'
import { CpuStorage } from './storage'

/** The CPU as a backend: tensors in the engine's memory, kernels enqueued on its command queue. */
export class CpuBackend implements StridedHost<CpuStorage> {
  readonly scopes = new ScopeStack()
  readonly kernels: Kernels
  /** For kernels of one's own making and for measurements. */
  readonly context: KernelContext
  private readonly runner: KernelRunner
  private disposing: Promise<void> | undefined

  constructor(
    readonly info: BackendInfo,
    private readonly engine: Engine,
  ) {
    this.runner = new KernelRunner(this, engine)
    this.context = this.runner
    this.kernels = this.runner.cleaned(createKernels(this.runner), (fn) => this.assertLive(fn))
  }

  tensor(data: TypedArray | readonly number[], shape: readonly number[], dtype?: DType): CpuTensor {
    this.assertLive('tensor')
    const elements = toElements(data, shape, dtype)
    const block = this.engine.allocator.alloc(elements.array.byteLength, true)
    this.engine.write(block.address, bytesOf(elements.array))
    return new StridedTensor(this, new CpuStorage(this.engine.allocator, block), [...shape], elements.dtype)
  }

  empty(shape: readonly number[], dtype: DType = 'f32'): CpuTensor {
    this.assertLive('empty')
    checkShape('empty', shape)
    return this.runner.empty(shape, dtype)
  }

  zeros(shape: readonly number[], dtype: DType = 'f32'): CpuTensor {
    this.assertLive('zeros')
    checkShape('zeros', shape)
    const tensor = this.runner.empty(shape, dtype)
    this.runner.run('memory_zero', this.runner.address(tensor), numel(shape) * bytesPerElement[dtype])
    return tensor
  }

  async readTensor(tensor: CpuTensor): Promise<TypedArray> {
    this.assertLive('read')
    const array = arrayOf(tensor.dtype, numel(tensor.shape))
    const source = isContiguous(tensor.shape, tensor.strides) ? tensor : (this.kernels.copy(tensor) as CpuTensor)
    const reading = this.engine.read(this.runner.address(source), bytesOf(array))
    if (source !== tensor) source.dispose()
    await reading
    return array
  }

  async sync(): Promise<void> {
    this.assertLive('sync')
    await this.engine.ring.fence()
  }

  /** Bytes of live tensors and the engine's own scratch memory (2 MiB per thread). Free blocks kept for reuse are not counted. */
  memory(): MemoryInfo {
    return this.engine.allocator.memory()
  }

  resetPeakMemory(): void {
    this.engine.allocator.resetPeak()
  }

  scope<T>(fn: () => T): T {
    return this.scopes.run(fn)
  }

  keep<T extends Tensor>(tensor: T): T {
    this.scopes.untrack(tensor)
    return tensor
  }

  /**
   * Measures every kernel enqueued from now on, until stopProfile(): time stamps around each command on the thread that runs them, and nothing
   * while no profile is on. Waits for what was enqueued before.
   */
  async startProfile(): Promise<void> {
    await this.sync()
    this.engine.ring.setProfiling(true)
    this.runner.profile = new ProfileEntries(this.engine.kernels, this.engine.ring.profileSlots)
  }

  /** Waits for pending work and returns what was measured since startProfile(), by kernel and shape, the longest first. */
  async stopProfile(): Promise<Map<string, KernelProfile>> {
    await this.sync()
    this.engine.ring.setProfiling(false)
    const entries = this.runner.profile
    this.runner.profile = undefined
    return entries?.profiles((slot) => this.engine.ring.profileOf(slot)) ?? new Map()
  }

  dispose(): Promise<void> {
    this.disposing ??= this.engine.dispose()
    return this.disposing
  }

  private assertLive(fn: string): void {
    if (this.disposing) throw new DisposedError(fn, 'the cpu backend')
  }
}
