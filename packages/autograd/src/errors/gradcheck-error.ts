import { formatShape, TilegradError } from '@tilegrad/tensor'

/** One element of an input, and its gradient found in two ways. */
export interface GradcheckElement {
  /** Which input, from 0. */
  readonly input: number
  /** Which element of it. */
  readonly index: readonly number[]
  /** From backward. */
  readonly analytic: number
  /** From finite differences. */
  readonly numeric: number
  /** |analytic − numeric|. */
  readonly error: number
  /** What finite differences can err here. */
  readonly tolerance: number
}

/** The gradient of an element is not what finite differences say it is. */
export class GradcheckError extends TilegradError {
  override readonly name = 'GradcheckError'
  constructor(readonly element: GradcheckElement) {
    const { input, index, analytic, numeric, tolerance } = element
    super(
      `gradcheck: expected gradient ${numeric} ± ${tolerance} of input ${input} at ${formatShape(index)}, got ${analytic} from backward`,
    )
  }
}
