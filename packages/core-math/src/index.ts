export {
  bf16BitsToF32,
  bf16BitsToF32Array,
  f16BitsToF32,
  f16BitsToF32Array,
  f32ArrayToBF16Bits,
  f32ArrayToF16Bits,
  f32ToBF16Bits,
  f32ToF16Bits,
} from './half'
export { createReferenceBackend, type ReferenceBackendOptions } from './reference/backend'
export type { Precision } from './reference/reference'
