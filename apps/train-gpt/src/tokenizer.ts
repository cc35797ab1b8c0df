import { ByteTokenizer, CharTokenizer, loadTokenizer, type Tokenizer } from '@tilegrad/transformer'
import type { Document } from './data'
import { UsageError } from './errors'

/** A tokenizer with the token that a run puts after each document. */
export interface TextTokenizer {
  readonly tokenizer: Tokenizer
  /** Never inside a document: byte 0, the character U+0000, or the tokenizer's end-of-text token. */
  readonly separator: number
  encode(document: Document): ArrayLike<number>
}

/** What end-of-text tokens are called, in GPT-2, Llama 3, Llama 2, Gemma, Qwen, BERT. */
const END_OF_TEXT = ['<|endoftext|>', '<|end_of_text|>', '</s>', '<eos>', '<|im_end|>', '[SEP]']

/**
 * Makes the tokenizer that `--tokenizer` asks for: `byte`, `char` (the characters of the documents), or the path of a tokenizer.json.
 * @throws UsageError, or TokenizerError for an unusable file.
 */
export async function openTokenizer(spec: string, documents: readonly Document[]): Promise<TextTokenizer> {
  if (spec === 'byte') return withSeparator(new ByteTokenizer())
  if (spec === 'char') return withSeparator(CharTokenizer.fromText(`\0${documents.map(decodeUtf8).join('')}`))
  return withSeparator(await loadTokenizer(spec))
}

/** The tokenizer of a checkpoint folder. */
export async function savedTokenizer(checkpoint: string): Promise<TextTokenizer> {
  return withSeparator(await loadTokenizer(checkpoint))
}

function withSeparator(tokenizer: Tokenizer): TextTokenizer {
  // Bytes need no valid UTF-8, and no detour over strings.
  if (tokenizer instanceof ByteTokenizer) return { tokenizer, separator: 0, encode: (document) => document.bytes }
  const separator = tokenizer instanceof CharTokenizer ? 0 : endOfText(tokenizer)
  return { tokenizer, separator, encode: (document) => tokenizer.encode(decodeUtf8(document)) }
}

function endOfText(tokenizer: Tokenizer): number {
  const { added_tokens: added = [] } = tokenizer.toJSON() as { added_tokens?: { id: number; content: string }[] }
  for (const name of END_OF_TEXT) {
    const found = added.find(({ content }) => content === name)
    if (found) return found.id
  }
  throw new UsageError(
    `--tokenizer: it has no end-of-text token to put between documents; its added_tokens need one of ${END_OF_TEXT.join(' ')}`,
  )
}

function decodeUtf8({ path, bytes }: Document): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new UsageError(`--data: ${path} is not UTF-8 text; convert it, or use --tokenizer byte`)
  }
}
