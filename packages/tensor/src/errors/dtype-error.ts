import { TilegradError } from './tilegrad-error'

/** An element type does not fit: `embeddingForward: tokens must be i32, got f32`. */
export class DTypeError extends TilegradError {
  override readonly name = 'DTypeError'
  constructor(fn: string, expected: string, got: string) {
    super(`${fn}: ${expected}, got ${got}`)
  }
}
