import { type GPT, generate, type Tokenizer } from '@tilegrad/transformer'
import type { TextTokenizer } from './tokenizer'

export interface SampleTextOptions {
  /** Beginning of the text. Default: the start of a document. */
  readonly prompt?: string | undefined
  /** Most tokens to write. */
  readonly tokens: number
  readonly temperature: number
  readonly topK?: number | undefined
  readonly topP?: number | undefined
  readonly seed: number
}

/** Text after the prompt, piece by piece as it is drawn, up to the end of the document. */
export async function* sampleText(model: GPT, { tokenizer, separator }: TextTokenizer, options: SampleTextOptions): AsyncGenerator<string> {
  const { prompt = '', tokens, temperature, topK = 0, topP = 1, seed } = options
  const start = [separator, ...tokenizer.encode(prompt)]
  const text = new TextStream(tokenizer)
  for await (const token of generate(model, start, { maxNewTokens: tokens, temperature, topK, topP, seed, stopTokens: [separator] })) {
    if (token === separator) break
    const piece = text.push(token)
    if (piece) yield piece
  }
  yield text.end()
}

/** Turns tokens into text as they come, although a character may be cut between tokens and a token may need those before it. */
export class TextStream {
  private tokens: number[] = []
  /** Characters of the decoded `tokens` that were handed out. */
  private handed = 0

  constructor(private readonly tokenizer: Tokenizer) {}

  /** The text that is certain now, perhaps none. */
  push(token: number): string {
    this.tokens.push(token)
    const text = this.tokenizer.decode(this.tokens)
    if (text.endsWith('\ufffd')) return ''
    return this.handOut(text)
  }

  /** What is left. */
  end(): string {
    return this.handOut(this.tokenizer.decode(this.tokens))
  }

  private handOut(text: string): string {
    const piece = text.slice(this.handed)
    this.handed = text.length
    if (this.tokens.length > 2 * CONTEXT) {
      this.tokens = this.tokens.slice(-CONTEXT)
      this.handed = this.tokenizer.decode(this.tokens).length
    }
    return piece
  }
}

/** Tokens before a new one that decoding it may depend on. */
const CONTEXT = 32
