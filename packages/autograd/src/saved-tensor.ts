import type { Tensor } from '@tilegrad/tensor'
import { SavedTensorModifiedError } from './errors/saved-tensor-modified-error'
import { alias } from './view'

/** A tensor that an operation needs for its gradient: a handle of its own, outside every scope, and the version that it saw. */
export class SavedTensor {
  readonly tensor: Tensor
  private readonly version: number

  constructor(tensor: Tensor) {
    this.tensor = tensor.backend.keep(alias(tensor))
    this.version = tensor.version
  }

  /** @throws SavedTensorModifiedError if the memory was written to since. */
  check(op: string): void {
    if (this.tensor.version !== this.version) {
      throw new SavedTensorModifiedError(op, this.tensor.shape, this.version, this.tensor.version)
    }
  }

  release(): void {
    this.tensor.dispose()
  }
}
