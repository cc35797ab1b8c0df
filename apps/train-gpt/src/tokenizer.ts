import { resolve } from 'node:path'
import { ByteTokenizer, CharTokenizer, loadTokenizer, type Tokenizer } from '@tilegrad/transformer'
import type { Document } from './data'
import { UsageError } from './errors'

/** A tokenizer with a separator between documents. */
export interface TextTokenizer {
  readonly vocabSize: number
  /** The token after each document. */
  readonly separator: number
  encode(document: Document): ArrayLike<number>
}
