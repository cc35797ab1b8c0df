import { TilegradError } from '@tilegrad/tensor'

/** A tokenizer file is unreadable, or a text or id is outside its vocabulary. */
export class TokenizerError extends TilegradError {
  override readonly name = 'TokenizerError'
  constructor(fn: string, problem: string) {
    super(`${fn}: ${problem}`)
  }
}
