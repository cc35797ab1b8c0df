import { createReferenceBackend } from '@tilegrad/core-math'
import { type Backend, type DType, formatShape, numel, shapesEqual, type Tensor, type TypedArray } from '@tilegrad/tensor'
import { decode, type HostTensor, place } from './host-tensor'
import { type Random, randomFor } from './random'
import { type Kind, limit } from './tolerance'

/** What a case computes, by how it is judged. Inputs may be among them. */
export type Outputs = Partial<Readonly<Record<Kind, Readonly<Record<string, Tensor>>>>>

/** A computation that is the same on every backend. */
export interface KernelCase {
  readonly group: string
  readonly name: string
  inputs(random: Random): Readonly<Record<string, HostTensor>>
  /** Calls kernels; disposes of every tensor that it makes and does not return. */
  compute(backend: Backend, inputs: Readonly<Record<string, Tensor>>): Outputs
  /** For outputs in which large terms cancel: the magnitude of those (see tolerance.ts), found on the float64 oracle. */
  readonly terms: Terms<string> | undefined
}

/** `naiveError` gives the largest error of naive code in an output. */
type Terms<Name extends string> = (
  backend: Backend,
  inputs: Readonly<Record<Name, Tensor>>,
  naiveError: (output: string) => number,
) => Promise<Readonly<Record<string, number>>>

/** Infers the names of the inputs. */
export function kernelCase<Name extends string>(
  group: string,
  name: string,
  inputs: (random: Random) => Readonly<Record<Name, HostTensor>>,
  compute: (backend: Backend, inputs: Readonly<Record<Name, Tensor>>) => Outputs,
  terms?: Terms<Name>,
): KernelCase {
  return { group, name, inputs, compute: compute as KernelCase['compute'], terms: terms as Terms<string> | undefined }
}

/** Largest finite |element| of each tensor. */
export async function magnitudes<Name extends string>(tensors: Readonly<Record<Name, Tensor>>): Promise<Record<Name, number>> {
  const entries = Object.entries<Tensor>(tensors).map(async ([name, tensor]) => [name, magnitude(await tensor.read())] as const)
  return Object.fromEntries(await Promise.all(entries)) as Record<Name, number>
}

/** Two reference backends: what is true, and what naive float32 code makes of it. */
export interface Oracle {
  readonly exact: Backend
  readonly naive: Backend
  /** Results of cases that ran, by group, name and dtype. */
  readonly kept?: Map<string, Expected>
}

/** @param keep keep results for further backends, as they take far longer than what they judge: some 200 MB for the small suite. */
export function createOracle({ keep = false }: { readonly keep?: boolean } = {}): Oracle {
  return { exact: createReferenceBackend(), naive: createReferenceBackend({ precision: 'f32' }), ...(keep && { kept: new Map() }) }
}

/** What a case should give, and by how much it may miss. */
export interface Expected {
  readonly exact: Results
  readonly naive: Results
  readonly terms: Readonly<Record<string, number>>
}

/** An output, read. */
export interface Result {
  readonly kind: Kind
  readonly shape: readonly number[]
  readonly dtype: DType
  readonly data: TypedArray
}

export type Results = ReadonlyMap<string, Result>

/**
 * Runs a case on a backend and on the oracle, and throws unless the backend's results are within the limits of tolerance.ts,
 * the same to the last bit in a second run, independent of what memory held before, and freed without a byte left; and inputs are untouched.
 */
export async function checkKernelCase(kernelCase: KernelCase, backend: Backend, oracle: Oracle, dtype: DType): Promise<void> {
  const inputs = kernelCase.inputs(randomFor(`${kernelCase.group} ${kernelCase.name}`))
  const { exact, naive, terms } = await expectedOf(kernelCase, oracle, inputs, dtype)
  const bytes = backend.memory().bytes
  for (const { shape } of naive.values()) poison(backend, shape)
  const first = await evaluate(kernelCase, backend, inputs, dtype)
  sameNames([...naive.keys()], [...first.keys()])
  for (const [name, result] of first) {
    compare(name, result, exact, naive, terms[name] ?? 0)
  }
  const second = await evaluateAgain(kernelCase, backend, inputs, dtype)
  sameBits(first, second, 'a second run')
  await backend.sync()
  const left = backend.memory().bytes - bytes
  if (left !== 0) throw new Error(`${left} bytes are still held after every tensor was disposed`)
}

/** What the oracle and naive code make of a case. */
export async function expectedOf(
  kernelCase: KernelCase,
  oracle: Oracle,
  inputs: Readonly<Record<string, HostTensor>>,
  dtype: DType,
): Promise<Expected> {
  const key = `${kernelCase.group} ${kernelCase.name} ${dtype}`
  const known = oracle.kept?.get(key)
  if (known) return known
  const exact = await evaluate(kernelCase, oracle.exact, inputs, dtype, 'f32')
  const naive = await evaluate(kernelCase, oracle.naive, inputs, dtype)
  const terms = await termsOf(kernelCase, oracle.exact, inputs, dtype, (name) => naiveError(name, exact, naive))
  const expected = { exact, naive, terms }
  oracle.kept?.set(key, expected)
  return expected
}

/** Results of a case, with inputs disposed before they are read: work that is enqueued must not notice. */
export async function evaluate(
  kernelCase: KernelCase,
  backend: Backend,
  inputs: Readonly<Record<string, HostTensor>>,
  dtype: DType,
  storeAs: DType = dtype,
): Promise<Results> {
  const tensors = placeAll(backend, inputs, dtype, storeAs)
  const outputs = list(orDispose(Object.values(tensors), () => kernelCase.compute(backend, tensors)))
  const returned = new Set(outputs.map(({ tensor }) => tensor))
  for (const tensor of Object.values(tensors)) if (!returned.has(tensor)) tensor.dispose()
  return readAll(outputs)
}

/** As `evaluate`, and checks that inputs which are not written keep their elements. */
async function evaluateAgain(
  kernelCase: KernelCase,
  backend: Backend,
  inputs: Readonly<Record<string, HostTensor>>,
  dtype: DType,
): Promise<Results> {
  const tensors = placeAll(backend, inputs, dtype, dtype)
  const untouched = Object.keys(inputs).filter((name) => !inputs[name]?.written)
  const before = await Promise.all(untouched.map((name) => tensors[name]?.read()))
  const outputs = list(kernelCase.compute(backend, tensors))
  const after = await Promise.all(untouched.map((name) => tensors[name]?.read()))
  const returned = new Set(outputs.map(({ tensor }) => tensor))
  for (const tensor of Object.values(tensors)) if (!returned.has(tensor)) tensor.dispose()
  const results = await readAll(outputs)
  untouched.forEach((name, i) => {
    const at = firstDifference(before[i] as TypedArray, after[i] as TypedArray)
    if (at >= 0) throw new Error(`the input ${name} was changed at element ${at}: ${before[i]?.[at]} became ${after[i]?.[at]}`)
  })
  return results
}

/** A gradient that was not asked for, or is not given, is an error. */
function sameNames(expected: readonly string[], got: readonly string[]): void {
  const missing = expected.filter((name) => !got.includes(name))
  const extra = got.filter((name) => !expected.includes(name))
  if (missing.length > 0) throw new Error(`${missing.join(', ')} missing from the results, instead of ${expected.join(', ')}`)
  if (extra.length > 0) throw new Error(`${extra.join(', ')} among the results, instead of ${expected.join(', ')} alone`)
}

/** Calls `then`, which may be refused: then nothing of `tensors` is left behind, to be freed at a bad time by garbage collection. */
export function orDispose<T>(tensors: readonly Tensor[], then: () => T): T {
  try {
    return then()
  } catch (error) {
    for (const tensor of tensors) tensor.dispose()
    throw error
  }
}

/** Throws where results are not equal to the last bit. */
export function sameBits(expected: Results, got: Results, what: string): void {
  for (const [name, { data, shape }] of expected) {
    const other = got.get(name) as Result
    const at = firstDifference(data, other.data)
    if (at >= 0) throw new Error(`${name}: ${what} differs at ${position(at, shape)}: ${data[at]} and ${other.data[at]}`)
  }
}

/** Leaves NaN in memory that a result of this shape is likely to get. */
function poison(backend: Backend, shape: readonly number[]): void {
  backend.tensor(new Float32Array(numel(shape)).fill(Number.NaN), shape).dispose()
}

function placeAll(backend: Backend, inputs: Readonly<Record<string, HostTensor>>, dtype: DType, storeAs: DType): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, place(backend, input, dtype, storeAs)]))
}

interface Output {
  readonly name: string
  readonly kind: Kind
  readonly tensor: Tensor
}

function list(outputs: Outputs): Output[] {
  return (['forward', 'gradient', 'exact'] as const).flatMap((kind) =>
    Object.entries(outputs[kind] ?? {}).map(([name, tensor]) => ({ name, kind, tensor })),
  )
}

async function readAll(outputs: readonly Output[]): Promise<Results> {
  const data = await Promise.all(outputs.map(({ tensor }) => tensor.read()))
  const results = new Map<string, Result>()
  outputs.forEach(({ name, kind, tensor }, i) => {
    results.set(name, { kind, shape: tensor.shape, dtype: tensor.dtype, data: data[i] as TypedArray })
  })
  for (const tensor of new Set(outputs.map((output) => output.tensor))) tensor.dispose()
  return results
}

async function termsOf(
  { terms }: KernelCase,
  exact: Backend,
  inputs: Readonly<Record<string, HostTensor>>,
  dtype: DType,
  errorOf: (output: string) => number,
): Promise<Readonly<Record<string, number>>> {
  if (!terms) return {}
  const tensors = placeAll(exact, inputs, dtype, 'f32')
  const result = await terms(exact, tensors, errorOf)
  for (const tensor of Object.values(tensors)) tensor.dispose()
  return result
}

function compare(name: string, result: Result, exactResults: Results, naiveResults: Results, terms: number): void {
  const { kind, shape, dtype } = result
  const exact = exactResults.get(name) as Result
  const naive = naiveResults.get(name) as Result
  if (!shapesEqual(shape, exact.shape)) throw new Error(`${name}: shape ${formatShape(shape)} instead of ${formatShape(exact.shape)}`)
  if (dtype !== naive.dtype) throw new Error(`${name}: dtype ${dtype} instead of ${naive.dtype}`)
  if (result.data.length !== exact.data.length)
    throw new Error(`${name}: read() gave ${result.data.length} elements for ${formatShape(shape)}`)
  if (kind === 'exact' || dtype === 'i32') {
    const at = firstDifference(naive.data, result.data)
    if (at >= 0) throw new Error(`${name}: ${result.data[at]} at ${position(at, shape)} instead of ${naive.data[at]}`)
    return
  }
  const expected = exact.data
  const error = maxError(name, decode(result.data, dtype), expected, shape)
  const bound = limit(kind, dtype, naiveError(name, exactResults, naiveResults), magnitude(expected), terms)
  if (error.value > bound.value) {
    const numbers = `${decode(result.data, dtype)[error.at]} instead of ${expected[error.at]}`
    throw new Error(
      `${name}: error ${error.value.toExponential(2)} at ${position(error.at, shape)} (${numbers}) exceeds ${bound.value.toExponential(2)} = ${bound.reason}`,
    )
  }
}

/** max|naive − oracle| over one output. */
export function naiveError(name: string, exact: Results, naive: Results): number {
  const { data, dtype, shape } = naive.get(name) as Result
  return maxError(`naive ${name}`, decode(data, dtype), (exact.get(name) as Result).data, shape).value
}

/** Largest |got − expected|. Infinities must match, and nothing may be NaN. */
export function maxError(
  name: string,
  got: ArrayLike<number>,
  expected: ArrayLike<number>,
  shape: readonly number[],
): { value: number; at: number } {
  let value = 0
  let at = 0
  for (let i = 0; i < expected.length; i++) {
    const x = got[i] as number
    const y = expected[i] as number
    if (x === y) continue
    const error = Math.abs(x - y)
    if (!Number.isFinite(error)) throw new Error(`${name}: ${x} at ${position(i, shape)} instead of ${y}`)
    if (error > value) {
      value = error
      at = i
    }
  }
  return { value, at }
}

export function magnitude(values: ArrayLike<number>): number {
  let max = 0
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i] as number)
    if (size > max && size !== Number.POSITIVE_INFINITY) max = size
  }
  return max
}

/** Index of the first element that differs in a bit, ±0 and NaN included; −1 if none does. */
function firstDifference(a: TypedArray, b: TypedArray): number {
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return i
  return -1
}

function position(at: number, shape: readonly number[]): string {
  const index: number[] = []
  let rest = at
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(rest % (shape[axis] as number))
    rest = Math.floor(rest / (shape[axis] as number))
  }
  return formatShape(index)
}
