import { TilegradError } from '@tilegrad/tensor'

/** A variable of one tape was given to another. */
export class TapeMismatchError extends TilegradError {
  override readonly name = 'TapeMismatchError'
  constructor(fn: string, variable: string) {
    super(`${fn}: expected variables of this tape, got ${variable} of another tape; make it with this tape's parameter() or constant()`)
  }
}
