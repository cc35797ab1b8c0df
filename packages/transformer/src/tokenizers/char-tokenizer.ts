import { TokenizerError } from '../errors/tokenizer-error'
import type { Tokenizer } from './tokenizer'

/** Characters (Unicode code points) as tokens. */
export class CharTokenizer implements Tokenizer {
  private readonly ids: ReadonlyMap<string, number>

  /** Id i is `characters[i]`: distinct code points. */
  constructor(readonly characters: readonly string[]) {
    this.ids = new Map(characters.map((character, id) => [character, id]))
    const wrong = characters.find((character, id) => Array.from(character).length !== 1 || this.ids.get(character) !== id)
    if (wrong !== undefined)
      throw new TokenizerError('CharTokenizer', `characters must be distinct and single, got ${JSON.stringify(wrong)}`)
    if (characters.length === 0) throw new TokenizerError('CharTokenizer', 'characters must not be empty')
  }

  /** The characters of a text, in code point order. */
  static fromText(text: string): CharTokenizer {
    const points = Array.from(new Set(text), (character) => character.codePointAt(0) as number)
    return new CharTokenizer(points.sort((a, b) => a - b).map((point) => String.fromCodePoint(point)))
  }

  get vocabSize(): number {
    return this.characters.length
  }

  encode(text: string): Int32Array {
    const ids: number[] = []
    for (const character of text) {
      const id = this.ids.get(character)
      if (id === undefined) {
        const problem = `${JSON.stringify(character)} (character ${ids.length}) is not among its ${this.vocabSize} characters`
        throw new TokenizerError('CharTokenizer.encode', problem)
      }
      ids.push(id)
    }
    return Int32Array.from(ids)
  }

  decode(ids: ArrayLike<number>): string {
    return Array.from(ids, (id, i) => {
      const character = this.characters[id]
      if (character === undefined) {
        throw new TokenizerError('CharTokenizer.decode', `ids must be in 0..${this.vocabSize - 1}, got ${id} at index ${i}`)
      }
      return character
    }).join('')
  }

  /** A BPE without merges. */
  toJSON(): unknown {
    return {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: { type: 'Fuse' },
      model: { type: 'BPE', vocab: Object.fromEntries(this.ids), merges: [] },
    }
  }
}
