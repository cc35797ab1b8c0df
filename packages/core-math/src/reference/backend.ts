import {
  ArgumentError,
  type Backend,
  type BackendInfo,
  checkShape,
  checkTensorData,
  contiguousStrides,
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
import { bf16BitsToF32, f16BitsToF32, f32ToBF16Bits, f32ToF16Bits } from '../half'
import { createKernels } from './kernels'
import type { FloatArray, Precision, Reference } from './reference'
import { ReferenceStorage } from './storage'
import { gather, scatter } from './strided'

/** Options of createReferenceBackend. */
export interface ReferenceBackendOptions {
  /**
   * `'f64'` (default): f32 tensors hold float64, `read()` returns Float64Array: the oracle.
   * `'f32'`: every operation rounds to float32; algorithms are naive (whole score matrix, sums in order): the baseline
   * whose error against the oracle says what error a float32 kernel may make.
   */
  readonly precision?: Precision
}

/**
 * Every kernel in plain TypeScript, as close to its formula as can be: for tests, not for speed.
 * Work is done within the call; elements of `empty` are poisoned with NaN; kernels' temporary arrays are not in `memory()`.
 */
export function createReferenceBackend(options: ReferenceBackendOptions = {}): StridedHost<ReferenceStorage> {
  const precision = options.precision ?? 'f64'
  if (precision !== 'f64' && precision !== 'f32') {
    throw new ArgumentError('createReferenceBackend', "precision must be 'f64' or 'f32'", String(precision))
  }
  return new ReferenceBackend(precision)
}

const POISON: Readonly<Record<DType, number>> = { f32: Number.NaN, f16: 0x7e00, bf16: 0x7fc0, i32: -0x80000000 }

class ReferenceBackend implements StridedHost<ReferenceStorage>, Reference {
  readonly info: BackendInfo
  readonly scopes = new ScopeStack()
  readonly kernels: Kernels
  readonly round: (x: number) => number
  private readonly live = new Set<ReferenceStorage>()
  private bytes = 0
  private peakBytes = 0
  private disposed = false

  constructor(readonly precision: Precision) {
    this.round = precision === 'f32' ? Math.fround : (x) => x
    this.info = { name: 'reference', device: 'JavaScript', driver: `plain TypeScript, ${precision}`, features: { precision } }
    this.kernels = createKernels(this)
  }

  get backend(): Backend {
    return this
  }

  tensor(data: TypedArray | readonly number[], shape: readonly number[], dtype?: DType): Tensor {
    const to = checkTensorData(data, shape, dtype)
    const storage = this.array(numel(shape), to)
    storage.set(data)
    return this.adopt(storage, shape, to)
  }

  empty(shape: readonly number[], dtype: DType = 'f32'): Tensor {
    checkShape('empty', shape)
    return this.adopt(this.array(numel(shape), dtype).fill(POISON[dtype]), shape, dtype)
  }

  zeros(shape: readonly number[], dtype: DType = 'f32'): Tensor {
    checkShape('zeros', shape)
    return this.adopt(this.array(numel(shape), dtype), shape, dtype)
  }

  async sync(): Promise<void> {
    this.assertLive('sync')
  }

  memory(): MemoryInfo {
    return { bytes: this.bytes, peakBytes: this.peakBytes }
  }

  resetPeakMemory(): void {
    this.peakBytes = this.bytes
  }

  scope<T>(fn: () => T): T {
    return this.scopes.run(fn)
  }

  keep<T extends Tensor>(tensor: T): T {
    this.scopes.untrack(tensor)
    return tensor
  }

  async dispose(): Promise<void> {
    this.disposed = true
    for (const storage of [...this.live]) storage.free()
  }

  async readTensor(tensor: StridedTensor<ReferenceStorage>): Promise<TypedArray> {
    this.assertLive('read')
    return this.elements(tensor).slice()
  }

  floats(length: number): FloatArray {
    return this.precision === 'f32' ? new Float32Array(length) : new Float64Array(length)
  }

  load(tensor: Tensor): FloatArray {
    const elements = this.elements(tensor)
    if (tensor.dtype === 'f32') return elements as FloatArray
    const decode = tensor.dtype === 'f16' ? f16BitsToF32 : bf16BitsToF32
    const values = this.floats(elements.length)
    for (let i = 0; i < values.length; i++) values[i] = decode(elements[i] as number)
    return values
  }

  loadInts(tensor: Tensor): Int32Array {
    return this.elements(tensor) as Int32Array
  }

  copy(tensor: Tensor, out?: Tensor): Tensor {
    return this.put(this.elements(tensor).slice(), tensor.shape, tensor.dtype, out)
  }

  result(values: FloatArray, shape: readonly number[], dtype: DType, out?: Tensor): Tensor {
    return this.put(this.encode(values, dtype), shape, dtype, out)
  }

  private put(elements: TypedArray, shape: readonly number[], dtype: DType, out?: Tensor): Tensor {
    if (!out) return this.adopt(elements, shape, dtype)
    const { storage, offset, strides } = out as StridedTensor<ReferenceStorage>
    scatter(elements, storage.data, offset, shape, strides)
    storage.version++
    return out
  }

  accumulate(values: FloatArray, shape: readonly number[], dtype: DType, into?: Tensor): Tensor {
    if (!into) return this.result(values, shape, dtype)
    const sum = this.load(into).slice()
    for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (values[i] as number)
    return this.result(sum, shape, into.dtype, into)
  }

  /** Row-major elements in storage form; a part of the storage itself where that is how they lie. */
  private elements(tensor: Tensor): TypedArray {
    const { storage, shape, strides, offset, dtype } = tensor as StridedTensor<ReferenceStorage>
    const n = numel(shape)
    if (isContiguous(shape, strides)) return storage.data.subarray(offset, offset + n)
    const elements = this.array(n, dtype)
    gather(storage.data, offset, shape, strides, elements)
    return elements
  }

  private encode(values: FloatArray, dtype: DType): TypedArray {
    if (dtype === 'f32') return values
    const bits = new Uint16Array(values.length)
    const encode = dtype === 'f16' ? f32ToF16Bits : f32ToBF16Bits
    for (let i = 0; i < bits.length; i++) bits[i] = encode(values[i] as number)
    return bits
  }

  private array(length: number, dtype: DType): TypedArray {
    if (dtype === 'f32') return this.floats(length)
    return dtype === 'i32' ? new Int32Array(length) : new Uint16Array(length)
  }

  private adopt(data: TypedArray, shape: readonly number[], dtype: DType): StridedTensor<ReferenceStorage> {
    this.assertLive('tensor')
    const storage = new ReferenceStorage(data, (freed) => {
      if (this.live.delete(freed)) this.bytes -= freed.bytes
    })
    this.live.add(storage)
    this.bytes += storage.bytes
    this.peakBytes = Math.max(this.peakBytes, this.bytes)
    return new StridedTensor<ReferenceStorage>(this, storage, [...shape], dtype, contiguousStrides(shape), 0)
  }

  private assertLive(fn: string): void {
    if (this.disposed) throw new DisposedError(fn, 'the reference backend')
  }
}
