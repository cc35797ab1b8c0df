import { TilegradError } from './tilegrad-error'

/** A tensor or backend was used after dispose(). */
export class DisposedError extends TilegradError {
  override readonly name = 'DisposedError'
  constructor(fn: string, what: string) {
    super(`${fn}: ${what} is disposed`)
  }
}
