import type { Backend } from '../backend'
import { bytesPerElement, type DType } from '../dtype'
import { DTypeError } from '../errors/dtype-error'
import { ShapeError } from '../errors/shape-error'
import type { OutOptions } from '../kernels'
import { formatShape, numel, shapesEqual } from '../shape'
import type { Tensor } from '../tensor'
import { checkDType, checkFinite, checkFloat, checkLastAxis, checkOptions, checkShape, checkTarget, checkTensors } from './common'

/** One operation on each of `elements` elements. */
export interface ElementwiseProblem {
  readonly elements: number
  readonly outShape: readonly number[]
  /** Of the inputs. */
  readonly dtype: DType
}

export function checkAdd(backend: Backend, a: Tensor, b: Tensor, options: OutOptions = {}): ElementwiseProblem {
  return checkElementwise('add', backend, { a, b }, options)
}

export function checkScale(backend: Backend, x: Tensor, factor: number, options: OutOptions = {}): ElementwiseProblem {
  checkFinite('scale', 'factor', factor)
  return checkElementwise('scale', backend, { x }, options)
}

export function checkCast(backend: Backend, x: Tensor, dtype: DType): ElementwiseProblem {
  const fn = 'cast'
  checkTensors(fn, backend, { x })
  checkFloat(fn, 'x', x)
  if (!Object.hasOwn(bytesPerElement, dtype) || dtype === 'i32') throw new DTypeError(fn, 'dtype must be f32, f16 or bf16', String(dtype))
  checkLastAxis(fn, { x })
  return { elements: numel(x.shape), outShape: x.shape, dtype: x.dtype }
}

/** x and `out` are of any dtype and may have any strides. */
export function checkCopy(backend: Backend, x: Tensor, options: OutOptions = {}): ElementwiseProblem {
  const fn = 'copy'
  checkTensors(fn, backend, { x })
  checkOptions(fn, options, ['out'])
  const { out } = options
  if (out !== undefined) {
    checkTensors(fn, backend, { out })
    checkDType(fn, 'out', out, x.dtype)
    if (!shapesEqual(out.shape, x.shape)) throw new ShapeError(fn, `out must be ${formatShape(x.shape)}`, formatShape(out.shape))
  }
  return { elements: numel(x.shape), outShape: x.shape, dtype: x.dtype }
}

/** Inputs of one shape and dtype, the first of which sets both; `out` as they are. */
export function checkElementwise(
  fn: string,
  backend: Backend,
  inputs: Readonly<Record<string, Tensor>>,
  options: OutOptions,
): ElementwiseProblem {
  checkTensors(fn, backend, inputs)
  checkOptions(fn, options, ['out'])
  const [[firstName, first], ...others] = Object.entries(inputs) as [[string, Tensor], ...[string, Tensor][]]
  checkFloat(fn, firstName, first)
  for (const [name, tensor] of others) {
    checkDType(fn, name, tensor, first.dtype)
    checkShape(fn, name, tensor, first.shape)
  }
  checkLastAxis(fn, inputs)
  checkTarget(fn, 'out', options.out, backend, first.shape, first.dtype)
  return { elements: numel(first.shape), outShape: first.shape, dtype: first.dtype }
}
