export * from './activation'
export {
  type AttentionBackwardProblem,
  type AttentionForwardProblem,
  type AttentionProblem,
  checkAttentionBackward,
  checkAttentionForward,
  MAX_SAVED_KEYS,
} from './attention'
export * from './attention-inspection'
export type { Broadcast } from './attention-scores'
export { checkBlockMask } from './block-mask'
export { rows } from './common'
export * from './cross-entropy'
export { checkShape, checkTensorData } from './data'
export * from './elementwise'
export * from './embedding'
export * from './matmul'
export * from './norm'
export * from './optimizer'
export * from './rope'
export { type Sequence, sequenceOf } from './sequences'
export * from './softmax'
