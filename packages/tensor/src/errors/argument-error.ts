import { TilegradError } from './tilegrad-error'

/** A number, option or combination of options is out of range: `attentionForward: softcap must be > 0, got -1`. */
export class ArgumentError extends TilegradError {
  override readonly name = 'ArgumentError'
  constructor(fn: string, expected: string, got: string) {
    super(`${fn}: ${expected}, got ${got}`)
  }
}
