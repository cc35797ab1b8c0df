/** Text to token ids and back. */
export interface Tokenizer {
  /** Ids are 0..vocabSize − 1. */
  readonly vocabSize: number
  /** `specialTokens` adds those that the tokenizer puts around every text, if it has any. Default false. */
  encode(text: string, options?: { readonly specialTokens?: boolean }): Int32Array
  decode(ids: ArrayLike<number>): string
  /** The contents of its tokenizer.json, which `loadTokenizer` and Hugging Face's libraries read. */
  toJSON(): unknown
  /** The contents of the tokenizer_config.json beside it, if it has one. */
  readonly config?: object
}
