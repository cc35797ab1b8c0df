import { bytesPerElement, isContiguous, type MatmulOptions, type MatmulProblem, numel, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { middleOf, part } from './pieces'

/** A product whose arguments are checked: a [..., M, K], b [K, N] or [..., K, N], out [..., M, N], or their transposes. */
export interface Product {
  readonly problem: MatmulProblem
  readonly a: Tensor
  readonly b: Tensor
  readonly out: Tensor
  readonly options: MatmulOptions
}

/** What to halve, or which operand to copy. */
export type Cut = 'batch' | 'm' | 'n' | 'k' | 'a' | 'b'

/**
 * What brings a product nearer to one whose tensors can all be bound: rows of an operand halve what is bound of it, whatever else they are.
 * Columns do not, so they are copied, unless a sum over k may be cut: one that is stored in f32 as it is. Undefined where all can be bound, or nothing helps.
 */
export function cutOf(ctx: KernelContext, { problem, a, b, out, options }: Product): Cut | undefined {
  const { batch, m, n, k, sharedB, transposeA, transposeB } = problem
  const { bias, preActivation } = options
  const large = (tensor: Tensor | undefined) => tensor !== undefined && !ctx.fits(tensor)
  const [largeA, largeB, largeOut] = [large(a), large(b), large(out) || large(preActivation)]
  if (!(largeA || largeB || largeOut)) return undefined
  if (batch > 1 && (largeA || largeOut || (largeB && !sharedB))) return 'batch'
  if (m > 1 && (largeOut || (largeA && !transposeA))) return 'm'
  if (n > 1 && (largeOut || (largeB && transposeB))) return 'n'
  const plain = out.dtype === 'f32' && bias === undefined && preActivation === undefined && problem.activation === 'none'
  if (k > 1 && plain && ((largeA && transposeA) || (largeB && !transposeB))) return 'k'
  if (largeA) return copyOr('a', a, 'm', m)
  return copyOr('b', b, 'n', n)

  /** Columns are copied once there are few enough. */
  function copyOr(operand: 'a' | 'b', tensor: Tensor, axis: 'm' | 'n', size: number): Cut | undefined {
    const bytes = numel(tensor.shape) * bytesPerElement[tensor.dtype]
    if (!isContiguous(tensor.shape, tensor.strides) && bytes <= ctx.limits.maxStorageBufferBindingSize) return operand
    return size > 1 ? axis : undefined
  }
}

/** The two halves, in the order in which they must run. */
export function halvesOf(ctx: KernelContext, product: Product, cut: Exclude<Cut, 'a' | 'b'>): [Product, Product] {
  const { problem, a } = product
  if (cut === 'batch') {
    const axis = a.shape.findIndex((size) => size > 1)
    const size = a.shape[axis] as number
    const of = (from: number, to: number) => batchOf(ctx, product, axis, from, to)
    const middle = Math.ceil(size / 2)
    return [of(0, middle), of(middle, size)]
  }
  const size = problem[cut]
  const middle = middleOf(size)
  const of = { m: rowsOf, n: columnsOf, k: stepsOf }[cut]
  return [of(ctx, product, 0, middle), of(ctx, product, middle, size)]
}

function batchOf(ctx: KernelContext, { problem, a, b, out, options }: Product, axis: number, from: number, to: number): Product {
  const size = a.shape[axis] as number
  const cut = (tensor: Tensor) => part(ctx, tensor, axis, from, to)
  return {
    problem: { ...problem, batch: (problem.batch / size) * (to - from) },
    a: cut(a),
    b: problem.sharedB ? b : cut(b),
    out: cut(out),
    options: cutTargets(options, cut),
  }
}

function rowsOf(ctx: KernelContext, { problem, a, b, out, options }: Product, from: number, to: number): Product {
  const cut = (tensor: Tensor) => part(ctx, tensor, -2, from, to)
  return {
    problem: { ...problem, m: to - from },
    a: part(ctx, a, problem.transposeA ? -1 : -2, from, to),
    b,
    out: cut(out),
    options: cutTargets(options, cut),
  }
}

function columnsOf(ctx: KernelContext, { problem, a, b, out, options }: Product, from: number, to: number): Product {
  const cut = (tensor: Tensor) => part(ctx, tensor, -1, from, to)
  const { bias } = options
  return {
    problem: { ...problem, n: to - from },
    a,
    b: part(ctx, b, problem.transposeB ? -2 : -1, from, to),
    out: cut(out),
    options: { ...cutTargets(options, cut), ...(bias && { bias: cut(bias) }) },
  }
}

/** Steps of the sum over k: all but the first are added to what is there. */
function stepsOf(ctx: KernelContext, { problem, a, b, out, options }: Product, from: number, to: number): Product {
  return {
    problem: { ...problem, k: to - from },
    a: part(ctx, a, problem.transposeA ? -2 : -1, from, to),
    b: part(ctx, b, problem.transposeB ? -1 : -2, from, to),
    out,
    options: from === 0 ? options : { ...options, accumulateInto: out },
  }
}

function cutTargets(options: MatmulOptions, cut: (tensor: Tensor) => Tensor): MatmulOptions {
  const { preActivation, accumulateInto } = options
  return {
    ...options,
    ...(preActivation && { preActivation: cut(preActivation) }),
    ...(accumulateInto && { accumulateInto: cut(accumulateInto) }),
  }
}
