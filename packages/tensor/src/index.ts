export type {
  AttentionBackwardOptions,
  AttentionBackwardResult,
  AttentionForwardOptions,
  AttentionForwardResult,
  AttentionOptions,
  AttentionTopKResult,
  LearnableAttentionOption,
} from './attention'
export type { Backend, BackendInfo, MemoryInfo } from './backend'
export type { BlockMask } from './block-mask'
export * from './check'
export { bytesPerElement, type DType, type TypedArray } from './dtype'
export { ArgumentError } from './errors/argument-error'
export { BackendMismatchError } from './errors/backend-mismatch-error'
export { DeviceError } from './errors/device-error'
export { DisposedError } from './errors/disposed-error'
export { DTypeError } from './errors/dtype-error'
export { OutOfMemoryError } from './errors/out-of-memory-error'
export { ShapeError } from './errors/shape-error'
export { TilegradError } from './errors/tilegrad-error'
export { UnsupportedError } from './errors/unsupported-error'
export type {
  AccumulateOptions,
  AdamWOptions,
  CrossEntropyOptions,
  Kernels,
  MatmulOptions,
  OutOptions,
} from './kernels'
export { type HoldsTensors, ScopeStack } from './scope'
export { contiguousStrides, formatShape, isContiguous, numel, shapesEqual } from './shape'
export { type Storage, type StridedHost, StridedTensor } from './strided-tensor'
export { isTensor, type Tensor } from './tensor'
