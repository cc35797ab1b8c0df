/** Element types. f16 and bf16 are storage types: arithmetic on them accumulates in f32. */
export type DType = 'f32' | 'f16' | 'bf16' | 'i32'

/**
 * What `read()` returns and `backend.tensor()` accepts, by dtype:
 * f32 → Float32Array, i32 → Int32Array, f16 and bf16 → Uint16Array holding the raw bits.
 * A reference backend may return Float64Array for f32.
 */
export type TypedArray = Float32Array | Float64Array | Int32Array | Uint16Array

export const bytesPerElement: Readonly<Record<DType, number>> = { f32: 4, f16: 2, bf16: 2, i32: 4 }
