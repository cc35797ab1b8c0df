import { TilegradError } from './tilegrad-error'

/** A shape or stride does not fit: `matmul: b must be [384, N], got [128, 64]`. */
export class ShapeError extends TilegradError {
  override readonly name = 'ShapeError'
  constructor(fn: string, expected: string, got: string) {
    super(`${fn}: ${expected}, got ${got}`)
  }
}
