import { TilegradError } from '@tilegrad/tensor'

/** A gradient was requested of something that has none: a constant, an intermediate result, or a loss without parameters. */
export class NoGradientError extends TilegradError {
  override readonly name = 'NoGradientError'
  constructor(fn: string, variable: string, advice: string) {
    super(`${fn}: ${variable} has no gradient; ${advice}`)
  }
}
