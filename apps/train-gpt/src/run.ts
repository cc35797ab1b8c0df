import type { Checkpoint } from './checkpoint'
import type { Corpus } from './data'
import type { TrainOptions } from './options'
import type { RunFolder } from './run-folder'
import type { TextTokenizer } from './tokenizer'

/** A run before it computes: checked options, data in memory, and a folder with the checkpoint to start from, if any. */
export interface Run {
  readonly options: TrainOptions
  readonly folder: RunFolder
  readonly checkpoint: Checkpoint | undefined
  readonly tokenizer: TextTokenizer
  readonly corpus: Corpus
}
