import type { Backend, DType, Tensor } from '@tilegrad/tensor'

/**
 * `'f64'`: f32 tensors hold float64 and arithmetic is float64: the oracle.
 * `'f32'`: f32 tensors hold float32 and every single operation rounds to float32: what naive float32 code errs.
 */
export type Precision = 'f64' | 'f32'

/** The element type of arithmetic: Float64Array in `'f64'`, Float32Array in `'f32'`. */
export type FloatArray = Float64Array | Float32Array

/**
 * What the reference kernels know of their backend. Kernels load whole tensors as contiguous arrays, compute into a new
 * array, and hand that to `result` or `accumulate`; so an output may be one of the inputs.
 */
export interface Reference {
  readonly backend: Backend
  readonly precision: Precision
  /** Rounds the result of one operation: identity or Math.fround. */
  readonly round: (x: number) => number
  /** Zeros in the element type of arithmetic. */
  floats(length: number): FloatArray
  /** Row-major elements of an f32, f16 or bf16 tensor. May share its storage: read only. */
  load(tensor: Tensor): FloatArray
  /** Row-major elements of an i32 tensor. May share its storage: read only. */
  loadInts(tensor: Tensor): Int32Array
  /** The elements of any dtype, bit for bit, as a new tensor or in `out`. */
  copy(tensor: Tensor, out?: Tensor): Tensor
  /** Rounds `values` to `dtype` and returns them as a new tensor, which takes `values` over, or writes them into `out` and returns that. */
  result(values: FloatArray, shape: readonly number[], dtype: DType, out?: Tensor): Tensor
  /** As `result`, but adds `values` to what `into` holds. */
  accumulate(values: FloatArray, shape: readonly number[], dtype: DType, into?: Tensor): Tensor
}
