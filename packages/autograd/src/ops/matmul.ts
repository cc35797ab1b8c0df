import { type MatmulOptions as KernelOptions, type Kernels, numel, type Tensor } from '@tilegrad/tensor'
import type { BackwardContext } from '../backward-context'
import type { Recorder } from '../recorder'
import type { Variable } from '../variable'
import { reshapeOrCopy } from '../view'

/** Options of Tape.matmul. */
export interface MatmulOptions extends Pick<KernelOptions, 'transposeA' | 'transposeB' | 'alpha' | 'activation'> {
  /** [N], added to every row. */
  readonly bias?: Variable
}

/** How a product was formed: what its gradients depend on beside the tensors. */
interface Product {
  readonly kernels: Kernels
  readonly transposeA: boolean
  readonly transposeB: boolean
  readonly alpha: number
  /** b is one matrix for all leading axes of a. */
  readonly sharedB: boolean
}

export function matmul(tape: Recorder, a: Variable, b: Variable, options: MatmulOptions = {}): Variable {
  const { kernels } = tape.backend
  const { transposeA = false, transposeB = false, alpha = 1, activation = 'none', bias } = options
  const at = tape.use('matmul', a)
  const bt = tape.use('matmul', b)
  const biasTensor = bias && tape.use('matmul', bias)
  const needsPreActivation = activation === 'gelu' && tape.recording && [a, b, bias].some((input) => input?.requiresGrad)
  const preActivation = needsPreActivation ? tape.backend.empty(productShape(at, bt, transposeA, transposeB), at.dtype) : undefined
  const out = kernels.matmul(at, bt, {
    transposeA,
    transposeB,
    alpha,
    activation,
    ...(biasTensor && { bias: biasTensor }),
    ...(preActivation && { preActivation }),
  })
  const result = tape.record('matmul', [a, b, bias], out, (save) => {
    const savedA = b.requiresGrad ? save(at) : undefined
    const savedB = a.requiresGrad ? save(bt) : undefined
    const savedPre = preActivation && save(preActivation)
    const product = { kernels, transposeA, transposeB, alpha, sharedB: bt.shape.length === 2 && at.shape.length > 2 }
    return (context) => {
      if (savedPre) context.replaceDout((out) => kernels.geluBackward(context.dout, savedPre.tensor, out))
      context.accumulate(2, (into) => kernels.sumRows(context.dout, accumulate(into)))
      if (savedB) backwardA(context, product, savedB.tensor)
      if (savedA) backwardB(context, product, savedA.tensor)
    }
  })
  preActivation?.dispose()
  return result
}

/** da = alpha·dout·op(b)ᵀ, transposed where a was read transposed. */
function backwardA(context: BackwardContext, product: Product, b: Tensor): void {
  const { kernels, transposeA, transposeB, alpha, sharedB } = product
  const { dout } = context
  if (!transposeA) {
    context.accumulate(0, (into) => kernels.matmul(dout, b, { transposeB: !transposeB, alpha, ...accumulate(into) }))
  } else if (!sharedB) {
    context.accumulate(0, (into) => kernels.matmul(b, dout, { transposeA: transposeB, transposeB: true, alpha, ...accumulate(into) }))
  } else {
    // The kernel shares its right operand only, and here b would stand on the left.
    context.accumulate(0, () => kernels.copy(swapLastAxes(kernels.matmul(dout, b, { transposeB: !transposeB, alpha }))))
  }
}

/** db = alpha·op(a)ᵀ·dout, summed over the leading axes that share b, transposed where b was read transposed. */
function backwardB(context: BackwardContext, product: Product, a: Tensor): void {
  const { kernels, transposeA, transposeB, alpha, sharedB } = product
  const rows = sharedB ? asRows(transposeA ? kernels.copy(swapLastAxes(a)) : a) : a
  const dout = sharedB ? asRows(context.dout) : context.dout
  const rowsTransposed = transposeA && !sharedB
  context.accumulate(1, (into) =>
    transposeB
      ? kernels.matmul(dout, rows, { transposeA: true, transposeB: rowsTransposed, alpha, ...accumulate(into) })
      : kernels.matmul(rows, dout, { transposeA: !rowsTransposed, alpha, ...accumulate(into) }),
  )
}

function accumulate(into: Tensor | undefined): { accumulateInto?: Tensor } {
  return into ? { accumulateInto: into } : {}
}

/** [..., K] → [rows, K]. */
function asRows(x: Tensor): Tensor {
  return reshapeOrCopy(x, [numel(x.shape.slice(0, -1)), x.shape.at(-1) as number])
}

function swapLastAxes(x: Tensor): Tensor {
  const rank = x.shape.length
  return x.permute([...Array(rank - 2).keys(), rank - 1, rank - 2])
}

/** [..., M, N]; operands that do not fit are left to the kernel, whose message says so. */
function productShape(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): number[] {
  return [...a.shape.slice(0, -2), a.shape.at(transposeA ? -1 : -2) ?? 0, b.shape.at(transposeB ? -2 : -1) ?? 0]
}
