export { AdamW, type AdamWOptions, type OptimizerState, type OptimizerStateSource, type StepOptions } from './adamw'
export { type AttentionPattern, checkPattern, PATTERN_TYPES } from './attention-pattern'
export { type ByteSource, fileSource, memorySource } from './checkpoint/byte-source'
export { fromHuggingFace, toHuggingFace } from './checkpoint/hf-config'
export type { FromPretrainedOptions, SaveOptions } from './checkpoint/pretrained'
export {
  readSafetensors,
  SafetensorsFile,
  safetensorsChunks,
  type TensorSource,
  type WriteSafetensorsOptions,
  writeSafetensors,
} from './checkpoint/safetensors'
export type { SafetensorsDType, SafetensorsEntry } from './checkpoint/safetensors-header'
export { loadWeights } from './checkpoint/weights'
export { writeFileAtomic } from './checkpoint/write-file-atomic'
export { type GPTConfig, type GPTConfigOptions, type Llama3RopeScaling, resolveConfig } from './config'
export { CheckpointError } from './errors/checkpoint-error'
export { NonFiniteGradientError } from './errors/non-finite-gradient-error'
export { TokenizerError } from './errors/tokenizer-error'
export { trainingFlops } from './flops'
export { type GenerateOptions, generate, generateAll } from './generate'
export { KVCache } from './kv-cache'
export { type ForwardOptions, GPT, type PassOptions } from './model'
export { type ParameterSpec, parameterSpecs } from './parameters'
export { type SamplingOptions, sampleToken } from './sampling'
export { type WarmupCosineOptions, warmupCosine } from './schedule'
export { ByteTokenizer } from './tokenizers/byte-tokenizer'
export { CharTokenizer } from './tokenizers/char-tokenizer'
export { HuggingFaceTokenizer } from './tokenizers/hugging-face-tokenizer'
export { loadTokenizer, tokenizerFromJSON } from './tokenizers/load-tokenizer'
export type { Tokenizer } from './tokenizers/tokenizer'
