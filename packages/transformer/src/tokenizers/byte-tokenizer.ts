import { TokenizerError } from '../errors/tokenizer-error'
import { byteAlphabet } from './byte-alphabet'
import type { Tokenizer } from './tokenizer'

/** UTF-8 bytes as tokens: 256 ids, any text, nothing to train. */
export class ByteTokenizer implements Tokenizer {
  readonly vocabSize = 256

  encode(text: string): Int32Array {
    return Int32Array.from(new TextEncoder().encode(text))
  }

  /** Bytes that are not UTF-8 (e.g. a character cut in two) become U+FFFD. */
  decode(ids: ArrayLike<number>): string {
    const bytes = Uint8Array.from(ids, (id, i) => {
      if (!(id >= 0 && id < 256)) throw new TokenizerError('ByteTokenizer.decode', `ids must be in 0..255, got ${id} at index ${i}`)
      return id
    })
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
  }

  /** A byte-level BPE without merges whose ids are the bytes. */
  toJSON(): unknown {
    return {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
      post_processor: null,
      decoder: { type: 'ByteLevel' },
      model: { type: 'BPE', vocab: Object.fromEntries(byteAlphabet.map((character, byte) => [character, byte])), merges: [] },
    }
  }
}
