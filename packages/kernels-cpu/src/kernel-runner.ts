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
import { kernelBytes, kernelWork } from './kernel-cost'
import type { ProfileEntries, ProfileEntry } from './kernel-profile'
import { CpuStorage } from './storage'

/** What a kernel method that is on has made. */
interface Call {
  readonly made: CpuTensor[]
  readonly temporaries: CpuTensor[]
  /** Where its time goes, while a profile is on. */
  readonly entry: ProfileEntry | undefined
}

/** The KernelContext of a backend, over its engine. */
export class KernelRunner implements KernelContext {
  readonly threads: number
  readonly lanes: number
  private readonly indices: ReadonlyMap<string, number>
  private readonly calls: Call[] = []
  /** While a profile is on. */
  profile: ProfileEntries | undefined

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
    if (this.profile) this.measure()
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

  upload(data: Int32Array): CpuTensor {
    const tensor = this.backend.tensor(data, [data.length]) as CpuTensor
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
          return this.call(name, args, () => run(...args))
        },
      ]
    })
    return Object.fromEntries(cleaned) as Kernels
  }

  private call<T>(name: string, args: readonly unknown[], run: () => T): T {
    const work = this.profile && kernelWork(name, args)
    const entry = work && this.profile?.entryOf(name, work.shape)
    const call: Call = { made: [], temporaries: [], entry }
    this.calls.push(call)
    try {
      const result = run()
      if (entry) {
        entry.calls++
        entry.flops += work.flops
        entry.bytes += kernelBytes(name, args, result)
      }
      return result
    } catch (error) {
      for (const tensor of call.made) tensor.dispose()
      throw error
    } finally {
      for (const tensor of call.temporaries) tensor.dispose()
      this.calls.pop()
    }
  }

  private measure(): void {
    const entry = this.calls.at(-1)?.entry
    if (entry) this.engine.ring.measure(entry.slot)
  }

  private make(shape: readonly number[], dtype: DType): CpuTensor {
    const { allocator } = this.engine
    const block = allocator.alloc(numel(shape) * bytesPerElement[dtype])
    return new StridedTensor(this.backend, new CpuStorage(allocator, block), [...shape], dtype)
  }
}
