import { formatShape, TilegradError } from '@tilegrad/tensor'

/** A tensor that an operation saved for its gradient was written to in place before backward. */
export class SavedTensorModifiedError extends TilegradError {
  override readonly name = 'SavedTensorModifiedError'
  constructor(op: string, shape: readonly number[], savedVersion: number, version: number) {
    super(
      `backward: a tensor ${formatShape(shape)} that '${op}' saved was modified in place, expected version ${savedVersion}, got ${version}; modify a copy, or after backward`,
    )
  }
}
