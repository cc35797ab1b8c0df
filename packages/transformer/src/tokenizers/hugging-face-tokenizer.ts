import { Tokenizer as Implementation } from '@huggingface/tokenizers'
import { TokenizerError } from '../errors/tokenizer-error'
import type { Tokenizer } from './tokenizer'

/** Any tokenizer.json, through @huggingface/tokenizers. As there, a BPE without an unknown token leaves out what its vocabulary lacks. */
export class HuggingFaceTokenizer implements Tokenizer {
  readonly vocabSize: number
  private readonly tokenizer: Implementation

  /** Contents of tokenizer.json and, where there is one, of tokenizer_config.json. */
  constructor(
    private readonly json: object,
    readonly config: object = {},
  ) {
    try {
      this.tokenizer = new Implementation(json, config)
    } catch (error) {
      throw new TokenizerError('HuggingFaceTokenizer', `tokenizer.json is not usable: ${(error as Error).message}`)
    }
    let largest = -1
    for (const id of this.tokenizer.get_vocab(true).values()) largest = Math.max(largest, id)
    this.vocabSize = largest + 1
  }

  encode(text: string, { specialTokens = false }: { readonly specialTokens?: boolean } = {}): Int32Array {
    const { ids, tokens } = this.tokenizer.encode(text, { add_special_tokens: specialTokens })
    const unknown = ids.findIndex((id) => !Number.isInteger(id))
    if (unknown >= 0) {
      throw new TokenizerError('HuggingFaceTokenizer.encode', `${JSON.stringify(tokens[unknown])} is not in its vocabulary`)
    }
    return Int32Array.from(ids)
  }

  decode(ids: ArrayLike<number>): string {
    const list = Array.from(ids)
    const wrong = list.findIndex((id) => this.tokenizer.id_to_token(id) === undefined)
    if (wrong >= 0) {
      const expected = `ids must be in 0..${this.vocabSize - 1}`
      throw new TokenizerError('HuggingFaceTokenizer.decode', `${expected}, got ${list[wrong]} at index ${wrong}`)
    }
    return list.length === 0 ? '' : this.tokenizer.decode(list, { skip_special_tokens: false, clean_up_tokenization_spaces: false })
  }

  toJSON(): unknown {
    return this.json
  }
}
