import {
  ArgumentError,
  type BackendInfo,
  bytesPerElement,
  checkShape,
  DeviceError,
  DisposedError,
  type DType,
  isContiguous,
  type Kernels,
  type MemoryInfo,
  numel,
  ScopeStack,
  type StridedHost,
  type StridedTensor,
  type Tensor,
  type TypedArray,
} from '@tilegrad/tensor'
import { BufferPool, TENSOR } from './buffer-pool'
import { CommandStream } from './command-stream'
import { arrayOf, toBytes } from './host-data'
import type { AttentionTiles, KernelContext } from './kernel-context'
import { KernelRunner } from './kernel-runner'
import { createKernels } from './kernels'
import { type AttentionShape, tuneAttention } from './kernels/attention-tuning'
import { Pipelines } from './pipelines'
import type { KernelProfile } from './profiler'
import { WebGPUStorage } from './storage'
import type { MatrixUnits } from './subgroup-matrix'
import { WebGPUTensor } from './tensor'

/** A WebGPU device as a backend: tensors in GPU buffers, kernels recorded into command buffers. */
export class WebGPUBackend implements StridedHost<WebGPUStorage> {
  readonly scopes = new ScopeStack()
  readonly kernels: Kernels
  /** For kernels of one's own making and for measurements. */
  readonly context: KernelContext
  private readonly pool: BufferPool
  private readonly stream: CommandStream
  private readonly runner: KernelRunner
  private disposing: Promise<void> | undefined

  /**
   * @param own whether dispose() destroys the device
   * @param matrixUnits subgroup matrices that kernels may use
   */
  constructor(
    readonly info: BackendInfo,
    readonly device: GPUDevice,
    private readonly own: boolean,
    attentionTiles: AttentionTiles = {},
    matrixUnits: MatrixUnits = {},
  ) {
    const pipelines = new Pipelines(device)
    this.stream = new CommandStream(device, pipelines.paramsLayout, (error, from) => this.pool.poison(error, from))
    this.pool = new BufferPool(device, this.stream.submitted, (error) => this.stream.fail(error))
    this.runner = new KernelRunner(this, device, subgroupSizes(device), attentionTiles, matrixUnits, this.pool, this.stream, pipelines)
    this.context = this.runner
    this.kernels = this.runner.cleaned(createKernels(this.runner), (fn) => this.assertLive(fn))
    device.lost.then(({ reason, message }) => this.stream.end(lostError(reason, message)))
    // Errors of calls are caught in scopes. On a device of our own nothing else may go unnoticed; a caller's keeps its own handlers.
    if (own) device.addEventListener('uncapturederror', ({ error }) => this.stream.fail(new DeviceError(`webgpu: ${error.message}`)))
  }

  tensor(data: TypedArray | readonly number[], shape: readonly number[], dtype?: DType): WebGPUTensor {
    this.assertLive('tensor')
    const { bytes, dtype: to } = toBytes(data, shape, dtype)
    const block = this.pool.alloc('tensor', bytes.byteLength, true)
    const whole = bytes.byteLength - (bytes.byteLength % 4)
    const { queue } = this.device
    this.stream.guard('tensor', block, () => {
      if (whole > 0) queue.writeBuffer(block.buffer, 0, bytes, 0, whole)
      if (whole < bytes.byteLength) {
        const rest = new Uint8Array(4)
        rest.set(bytes.subarray(whole))
        queue.writeBuffer(block.buffer, whole, rest)
      }
    })
    return new WebGPUTensor(this, new WebGPUStorage(block, this.pool), [...shape], to)
  }

  /**
   * A tensor in a caller's buffer, without a copy. The buffer stays the caller's: it must not be destroyed before the tensor is disposed and
   * pending work is done.
   *
   * @param options.offset where the elements begin, in bytes, a multiple of 4
   * @throws ArgumentError for a buffer that is too small or lacks the usages STORAGE, COPY_SRC and COPY_DST
   */
  fromGPUBuffer(buffer: GPUBuffer, shape: readonly number[], dtype: DType = 'f32', { offset = 0 }: { offset?: number } = {}): WebGPUTensor {
    const fn = 'fromGPUBuffer'
    this.assertLive(fn)
    checkShape(fn, shape)
    const bytes = numel(shape) * bytesPerElement[dtype]
    if (!(Number.isInteger(offset) && offset >= 0 && offset % 4 === 0)) {
      throw new ArgumentError(fn, 'offset must be a multiple of 4 bytes', String(offset))
    }
    if (buffer.size % 4 !== 0) throw new ArgumentError(fn, "the buffer's size must be a multiple of 4 bytes", String(buffer.size))
    if (offset + bytes > buffer.size) throw new ArgumentError(fn, `a buffer of at least ${offset + bytes} bytes`, `${buffer.size}`)
    if ((buffer.usage & TENSOR) !== TENSOR) {
      throw new ArgumentError(fn, 'a buffer with the usages STORAGE, COPY_SRC and COPY_DST', `usage ${buffer.usage}`)
    }
    const storage = new WebGPUStorage(this.pool.adopt(buffer))
    return new WebGPUTensor(this, storage, [...shape], dtype, undefined, offset / bytesPerElement[dtype])
  }

  empty(shape: readonly number[], dtype: DType = 'f32'): WebGPUTensor {
    this.assertLive('empty')
    checkShape('empty', shape)
    return this.runner.empty(shape, dtype)
  }

  zeros(shape: readonly number[], dtype: DType = 'f32'): WebGPUTensor {
    this.assertLive('zeros')
    checkShape('zeros', shape)
    const tensor = this.runner.empty(shape, dtype)
    this.runner.clear(tensor)
    return tensor
  }

  async readTensor(tensor: StridedTensor<WebGPUStorage>): Promise<TypedArray> {
    this.assertLive('read')
    const { shape, dtype } = tensor
    const length = numel(shape)
    if (length === 0) {
      await this.stream.fence()
      return arrayOf(dtype, new ArrayBuffer(0), 0, 0)
    }
    const source = isContiguous(shape, tensor.strides) ? tensor : (this.kernels.copy(tensor) as WebGPUTensor)
    const offset = Math.floor(source.byteOffset / 4) * 4
    const end = Math.ceil((source.byteOffset + length * bytesPerElement[dtype]) / 4) * 4
    const reading = this.stream.read({ block: source.storage.block, offset, bytes: end - offset })
    const skipped = source.byteOffset - offset
    if (source !== tensor) source.dispose()
    return arrayOf(dtype, await reading, skipped, length)
  }

  async sync(): Promise<void> {
    this.assertLive('sync')
    await this.stream.fence()
  }

  /** Resolves when all work enqueued so far is submitted to the device's queue: what the caller submits afterwards runs after it. */
  async flush(): Promise<void> {
    this.assertLive('flush')
    await this.stream.flush()
  }

  /** Bytes of live tensors, in buffers at most 1/8 larger than they are. Buffers kept for reuse, and callers' buffers, are not counted. */
  memory(): MemoryInfo {
    return this.pool.memory()
  }

  resetPeakMemory(): void {
    this.pool.resetPeak()
  }

  scope<T>(fn: () => T): T {
    return this.scopes.run(fn)
  }

  keep<T extends Tensor>(tensor: T): T {
    this.scopes.untrack(tensor)
    return tensor
  }

  /** Measures the GPU time of every kernel enqueued from now on, until stopProfile(). Waits for what was enqueued before. */
  async startProfile(): Promise<void> {
    await this.sync()
    this.stream.startProfile()
  }

  /** Waits for pending work and returns GPU time by kernel since startProfile(), the longest first. */
  async stopProfile(): Promise<Map<string, KernelProfile>> {
    await this.sync()
    return this.stream.stopProfile()
  }

  /**
   * GPU time of each kernel that `work` enqueues, from timestamp queries, the longest first.
   * @throws UnsupportedError on a device without the feature `timestamp-query`
   */
  async profile(work: () => unknown): Promise<Map<string, KernelProfile>> {
    await this.startProfile()
    try {
      await work()
    } catch (error) {
      await this.stopProfile()
      throw error
    }
    return this.stopProfile()
  }

  /**
   * Measures every tile that attentionForward has for calls like this one, and remembers the fastest: calls of its dtype, head dims, and lengths and number
   * of heads up to the same powers of two use it from now on. Await it before other calls. `attentionTiles` of the backend's options goes first.
   *
   * Results of a call are the same bits every time it uses the same tile; another tile rounds otherwise. So where runs have to agree, measure once
   * and give every run what was found, as `attentionTiles`.
   *
   * @returns milliseconds of a call by tile
   */
  async tuneAttention(shape: AttentionShape): Promise<Readonly<Record<string, number>>> {
    this.assertLive('tuneAttention')
    return tuneAttention(this, this.runner, shape)
  }

  dispose(): Promise<void> {
    this.disposing ??= this.release()
    return this.disposing
  }

  private async release(): Promise<void> {
    this.stream.destroy()
    this.pool.destroy()
    if (this.own) this.device.destroy()
  }

  private assertLive(fn: string): void {
    if (this.disposing) throw new DisposedError(fn, 'the webgpu backend')
  }
}

function subgroupSizes({ adapterInfo, features }: GPUDevice): KernelContext['subgroupSizes'] {
  const { subgroupMinSize: min, subgroupMaxSize: max } = (adapterInfo ?? {}) as { subgroupMinSize?: number; subgroupMaxSize?: number }
  return features.has('subgroups' as GPUFeatureName) && min && max ? { min, max } : undefined
}

function lostError(reason: string, message: string): DeviceError {
  return new DeviceError(
    `webgpu: the device was lost (${reason}: ${message.trim()}) and its tensors with it; make a new backend and restore them from copies on the host`,
  )
}
