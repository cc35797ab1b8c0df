import { formatShape, TilegradError } from '@tilegrad/tensor'

/** backward of several elements needs the gradient to start from. */
export class NonScalarLossError extends TilegradError {
  override readonly name = 'NonScalarLossError'
  constructor(shape: readonly number[]) {
    super(`backward: expected a loss of one element, got ${formatShape(shape)}; pass { seed }, a tensor of that shape`)
  }
}
