// The oracle

// Attention in tiles: the executable specification
export { attentionBackward } from './attention-backward'
export { attentionBackwardDkdv } from './attention-backward-dkdv'
export { attentionBackwardDq } from './attention-backward-dq'
export { attentionBackwardPreprocess, attentionBackwardSink } from './attention-backward-preprocess'
export type { QueryHead } from './attention-backward-tile'
export { attentionForward, type ForwardTiles } from './attention-forward'
export { attentionColumnSums, attentionRows, attentionTopK } from './attention-inspection'
export {
  type HeadProblem,
  headProblem,
  type OptionValues,
  type Rows,
  type ScoreBias,
  tileSchedule,
  type Visibility,
} from './attention-problem'
export { dropoutRow } from './dropout'
// Numbers
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
export { HeadMask, type MaskTile } from './head-mask'

// Bytes moved
export {
  blockSparseIoGrowth,
  flashBackwardIo,
  flashForwardIo,
  flashIoGrowth,
  type IoBytes,
  type IoProblem,
  type StandardIoOptions,
  standardBackwardIo,
  standardForwardIo,
  standardIoGrowth,
  tilesForFastMemory,
  visitedShare,
} from './io-model'
export { maskRow } from './mask'
export { attentionRandomRow, attentionRandomWord, PhiloxStream, philox4x32, type Words2, type Words4 } from './philox'
export { createReferenceBackend, type ReferenceBackendOptions } from './reference/backend'
export type { Precision } from './reference/reference'
export { isEmpty, type Range, Schedule, type Tile, TileSchedule, type TileSizes } from './schedule'
export { OnlineSoftmax } from './softmax'
export { TopK } from './top-k'
