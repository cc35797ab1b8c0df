import { type GPT, generate } from '@tilegrad/transformer'
import type { TextTokenizer } from './tokenizer'

export interface SampleTextOptions {
  /** Beginning of the text. Default: the start of a document. */
  readonly prompt?: string | undefined
  readonly tokens: number
  readonly temperature: number
  readonly topK?: number | undefined
  readonly topP?: number | undefined
  readonly seed: number
}
