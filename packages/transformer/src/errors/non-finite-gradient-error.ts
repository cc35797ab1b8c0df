import { TilegradError } from '@tilegrad/tensor'

/** The gradients contain NaN or ±∞; no parameter was changed. */
export class NonFiniteGradientError extends TilegradError {
  override readonly name = 'NonFiniteGradientError'
  constructor(gradNorm: number, step: number) {
    super(
      `AdamW.step: gradient norm must be finite, got ${gradNorm} after ${step} steps; parameters are unchanged: lower lr or clip sooner`,
    )
  }
}
