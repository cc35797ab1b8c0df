import type { BackendInfo, MemoryInfo } from './backend'
import { bytesPerElement, type DType, type TypedArray } from './dtype'
import type { Kernels } from './kernels'
import { ScopeStack } from './scope'
import { numel } from './shape'
import { type Storage, type StridedHost, StridedTensor } from './strided-tensor'
import type { Tensor } from './tensor'

/** Elements with a reference count that tests can look at. */
export class TestStorage implements Storage {
  version = 0
  references = 1
  constructor(
    readonly data: TypedArray,
    readonly bytes: number,
  ) {}
  retain(): void {
    this.references++
  }
  release(): void {
    this.references--
  }
}

/** The least that StridedTensor needs of a backend: storage and reading, no kernels. */
export class TestHost implements StridedHost<TestStorage> {
  readonly info: BackendInfo = { name: 'test', device: 'none', driver: 'none', features: {} }
  readonly scopes = new ScopeStack()
  readonly storages: TestStorage[] = []
  get kernels(): Kernels {
    throw new Error('the test host has no kernels')
  }
  /** Storages that are still held. */
  get held(): number {
    return this.storages.filter(({ references }) => references > 0).length
  }
  tensor(data: TypedArray | readonly number[], shape: readonly number[], dtype: DType = 'f32'): StridedTensor<TestStorage> {
    const storage = new TestStorage(Float64Array.from(data), numel(shape) * bytesPerElement[dtype])
    this.storages.push(storage)
    return new StridedTensor(this, storage, shape, dtype)
  }
  empty(shape: readonly number[], dtype?: DType): StridedTensor<TestStorage> {
    return this.zeros(shape, dtype)
  }
  zeros(shape: readonly number[], dtype: DType = 'f32'): StridedTensor<TestStorage> {
    return this.tensor(new Float64Array(numel(shape)), shape, dtype)
  }
  async readTensor({ shape, strides, offset, storage }: StridedTensor<TestStorage>): Promise<TypedArray> {
    return Float64Array.from(offsets(shape, strides, offset), (at) => storage.data[at] as number)
  }
  async sync(): Promise<void> {}
  memory(): MemoryInfo {
    return { bytes: 0, peakBytes: 0 }
  }
  resetPeakMemory(): void {}
  scope<T>(fn: () => T): T {
    return this.scopes.run(fn)
  }
  keep<T extends Tensor>(tensor: T): T {
    this.scopes.untrack(tensor)
    return tensor
  }
  async dispose(): Promise<void> {}
}

/** Storage offset of each element in row-major order, by nested loops. */
export function offsets(shape: readonly number[], strides: readonly number[], offset: number): number[] {
  let result = [offset]
  shape.forEach((size, axis) => {
    result = result.flatMap((at) => Array.from({ length: size }, (_, i) => at + i * (strides[axis] as number)))
  })
  return result
}
