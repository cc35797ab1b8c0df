import type { Backend } from '../backend'
import type { DType } from '../dtype'
import { ArgumentError } from '../errors/argument-error'
import { BackendMismatchError } from '../errors/backend-mismatch-error'
import { DisposedError } from '../errors/disposed-error'
import { DTypeError } from '../errors/dtype-error'
import { ShapeError } from '../errors/shape-error'
import { formatShape, isContiguous, numel, shapesEqual } from '../shape'
import { isTensor, type Tensor } from '../tensor'

/** Product of all axes but the last: the rows of x [..., C]. 1 for a vector. */
export function rows(shape: readonly number[]): number {
  return numel(leadingAxes(shape))
}

/** All axes but the last. */
export function leadingAxes(shape: readonly number[]): readonly number[] {
  return shape.slice(0, -1)
}

/** Every tensor that is given is a live tensor of `backend`. */
export function checkTensors(fn: string, backend: Backend, tensors: Readonly<Record<string, Tensor | undefined>>): void {
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!isTensor(tensor)) throw new ArgumentError(fn, `${name} must be a tensor`, describe(tensor))
    if (tensor.disposed) throw new DisposedError(fn, `${name} ${formatShape(tensor.shape)}`)
    if (tensor.backend !== backend) throw new BackendMismatchError(fn, name, backend.info.name, tensor.backend.info.name)
  }
}

/** The options are a plain object with none but the known `names`, so that a misspelt one is not silently ignored. */
export function checkOptions(fn: string, options: object, names: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options) || isTensor(options)) {
    throw new ArgumentError(fn, 'options must be an object', describe(options))
  }
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      throw new ArgumentError(fn, names.length > 0 ? `options must be among ${names.join(', ')}` : 'no options are taken', `'${name}'`)
    }
  }
}

/** An element type that arithmetic is defined on. */
export function checkFloat(fn: string, name: string, { dtype }: Tensor): void {
  if (dtype === 'i32') throw new DTypeError(fn, `${name} must be f32, f16 or bf16`, dtype)
}

export function checkDType(fn: string, name: string, { dtype }: Tensor, ...expected: readonly DType[]): void {
  if (!expected.includes(dtype)) throw new DTypeError(fn, `${name} must be ${[...new Set(expected)].join(' or ')}`, dtype)
}

/** An axis given by name may have any length: `['K', 64]`. */
export function checkShape(fn: string, name: string, { shape }: Tensor, expected: readonly (number | string)[]): void {
  const fits = shape.length === expected.length && expected.every((size, i) => typeof size === 'string' || size === shape[i])
  if (!fits) throw new ShapeError(fn, `${name} must be [${expected.join(', ')}]`, formatShape(shape))
}

/** At least `rank` axes, named in `expected` for the message. */
export function checkRank(fn: string, name: string, { shape }: Tensor, rank: number, expected: string): void {
  if (shape.length < rank) throw new ShapeError(fn, `${name} must be ${expected}`, formatShape(shape))
}

/** Elements of the last axis are neighbours; the other axes may have any strides. */
export function checkLastAxis(fn: string, tensors: Readonly<Record<string, Tensor>>): void {
  for (const [name, { shape, strides }] of Object.entries(tensors)) {
    if (shape.length > 0 && (shape.at(-1) as number) > 1 && strides.at(-1) !== 1 && numel(shape) > 0) {
      throw new ShapeError(fn, `the last axis of ${name} must be contiguous (copy() it first)`, `strides ${formatShape(strides)}`)
    }
  }
}

/** A tensor that is written: contiguous, of exactly this shape and one of these dtypes. Absent is fine. */
export function checkTarget(
  fn: string,
  name: string,
  tensor: Tensor | undefined,
  backend: Backend,
  shape: readonly number[],
  ...dtypes: readonly DType[]
): void {
  if (tensor === undefined) return
  checkTensors(fn, backend, { [name]: tensor })
  checkDType(fn, name, tensor, ...dtypes)
  if (!shapesEqual(tensor.shape, shape)) throw new ShapeError(fn, `${name} must be ${formatShape(shape)}`, formatShape(tensor.shape))
  if (!isContiguous(tensor.shape, tensor.strides)) {
    throw new ShapeError(fn, `${name} must be contiguous`, `strides ${formatShape(tensor.strides)} for shape ${formatShape(shape)}`)
  }
}

export function checkFinite(fn: string, name: string, value: number): void {
  if (!Number.isFinite(value)) throw new ArgumentError(fn, `${name} must be a finite number`, describe(value))
}

/** low ≤ value, and finite. */
export function checkAtLeast(fn: string, name: string, value: number, low: number): void {
  if (!(Number.isFinite(value) && value >= low)) throw new ArgumentError(fn, `${name} must be a finite number ≥ ${low}`, describe(value))
}

export function checkInteger(fn: string, name: string, value: number, low: number = Number.MIN_SAFE_INTEGER): void {
  if (!(Number.isSafeInteger(value) && value >= low)) {
    throw new ArgumentError(fn, `${name} must be an integer${low > Number.MIN_SAFE_INTEGER ? ` ≥ ${low}` : ''}`, describe(value))
  }
}

export function checkBoolean(fn: string, name: string, value: boolean): void {
  if (typeof value !== 'boolean') throw new ArgumentError(fn, `${name} must be true or false`, describe(value))
}

export function checkChoice<T extends string>(fn: string, name: string, value: T, choices: readonly T[]): void {
  if (!choices.includes(value)) throw new ArgumentError(fn, `${name} must be ${choices.map((c) => `'${c}'`).join(' or ')}`, describe(value))
}

/** A wrong argument in a few characters, for messages. */
function describe(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (isTensor(value)) return `a tensor ${formatShape(value.shape)}`
  if (Array.isArray(value)) return `[${value.map(String).join(', ')}]`
  return typeof value === 'object' && value !== null ? `a value of type ${value.constructor?.name ?? 'object'}` : String(value)
}
