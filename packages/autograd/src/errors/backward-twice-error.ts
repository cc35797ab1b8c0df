import { TilegradError } from '@tilegrad/tensor'

/** backward reached an operation whose saved tensors an earlier backward has already freed. */
export class BackwardTwiceError extends TilegradError {
  override readonly name = 'BackwardTwiceError'
  constructor(op: string) {
    super(
      `backward: the saved tensors of '${op}' are already freed by an earlier backward; run the forward pass again, or add the losses first`,
    )
  }
}
