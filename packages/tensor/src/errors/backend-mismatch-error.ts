import { TilegradError } from './tilegrad-error'

/** Tensors of two backends met in one call, or a backend was given another's tensor. */
export class BackendMismatchError extends TilegradError {
  override readonly name = 'BackendMismatchError'
  constructor(fn: string, argument: string, expected: string, got: string) {
    super(`${fn}: ${argument} must be a tensor of this ${expected} backend, got one of another ${got} backend`)
  }
}
