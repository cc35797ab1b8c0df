import {
  bytesPerElement,
  type DType,
  isContiguous,
  type Kernels,
  numel,
  type StridedHost,
  StridedTensor,
  type Tensor,
  UnsupportedError,
} from '@tilegrad/tensor'
import type { Engine } from './engine'
import type { CpuTensor, KernelContext } from './kernel-context'
import { CpuStorage } from './storage'

/** What a kernel method that is on has made. */
interface Call {
  readonly made: CpuTensor[]
  readonly temporaries: CpuTensor[]
}

/** The KernelContext of a backend, over its engine. */
export class KernelRunner implements KernelContext {
  readonly threads: number
  readonly lanes: number
  private readonly indices: ReadonlyMap<string, number>
  private readonly calls: Call[] = []

  constructor(
    readonly backend: StridedHost<CpuStorage>,
    private readonly engine: Engine,
  ) {
    this.threads = engine.threads
    this.lanes = engine.lanes
    this.indices = new Map(engine.kernels.map((name, index) => [name, index]))
  }

  run(name: string, ...args: number[]): void {
    const index = this.indices.get(name)
    if (index === undefined) throw new UnsupportedError('cpu', name, `this build of the ${this.engine.runtime} kernels; build it again`)
    this.engine.ring.kernel(index, args)
  }

  empty(shape: readonly number[], dtype: DType = 'f32'): CpuTensor {
    const tensor = this.make(shape, dtype)
    this.calls.at(-1)?.made.push(tensor)
    return tensor
  }

  temporary(shape: readonly number[], dtype: DType = 'f32'): CpuTensor {
    const tensor = this.make(shape, dtype)
    this.calls.at(-1)?.temporaries.push(tensor)
    return tensor
  }

  contiguous(tensor: Tensor): CpuTensor {
    if (isContiguous(tensor.shape, tensor.strides)) return tensor as CpuTensor
    const copy = this.backend.kernels.copy(tensor) as CpuTensor
    this.calls.at(-1)?.temporaries.push(copy)
    return copy
  }

  address(tensor: Tensor): number {
    const { storage, byteOffset } = tensor as CpuTensor
    return storage.address + byteOffset
  }

  touch(tensor: Tensor): void {
    ;(tensor as CpuTensor).storage.version++
  }

  unsupported(kernel: string, what: string): never {
    throw new UnsupportedError('cpu', kernel, what)
  }

  /** The same kernels, cleaned up after: temporaries always, everything that was made when one throws. */
  cleaned(kernels: Kernels, assertLive: (fn: string) => void): Kernels {
    const cleaned = Object.entries(kernels).map(([name, kernel]) => {
      const run = kernel as (...args: unknown[]) => unknown
      return [
        name,
        (...args: unknown[]) => {
          assertLive(name)
          return this.call(() => run(...args))
        },
      ]
    })
    return Object.fromEntries(cleaned) as Kernels
  }

  private call<T>(run: () => T): T {
    const call: Call = { made: [], temporaries: [] }
    this.calls.push(call)
    try {
      return run()
    } catch (error) {
      for (const tensor of call.made) tensor.dispose()
      throw error
    } finally {
      for (const tensor of call.temporaries) tensor.dispose()
      this.calls.pop()
    }
  }

  private make(shape: readonly number[], dtype: DType): CpuTensor {
    const { allocator } = this.engine
    const block = allocator.alloc(numel(shape) * bytesPerElement[dtype])
    return new StridedTensor(this.backend, new CpuStorage(allocator, block), [...shape], dtype)
  }
}
