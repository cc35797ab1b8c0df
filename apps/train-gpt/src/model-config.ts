import type { GPTConfigOptions } from '@tilegrad/transformer'
import type { TrainOptions } from './options'
import { parsePatterns } from './pattern'
import type { TextTokenizer } from './tokenizer'

/** The model that the options describe. A separator ends a text, so that sampling stops there. */
export function modelConfig(options: TrainOptions, { tokenizer, separator }: TextTokenizer) {
  return {
    architecture: options.arch,
    vocabSize: tokenizer.vocabSize,
    contextLength: options.context,
    nLayers: options.layers,
    nHeads: options.heads,
    nHeadsK: options.kvHeads ?? options.heads,
    dModel: options.width,
    attentionPattern: parsePatterns(options.pattern),
    ...(options.positions && { positions: options.positions }),
    attentionSink: options.sink,
    attentionDropout: options.attentionDropout,
    attentionImpl: options.attention,
    activationCheckpointing: options.checkpointActivations,
    tieEmbeddings: true,
    eosTokenId: separator,
  } satisfies GPTConfigOptions
}
