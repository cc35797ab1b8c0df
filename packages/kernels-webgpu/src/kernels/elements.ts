import type { Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { type Constants, combinations, type Shader } from '../shader'
import type { WebGPUTensor } from '../tensor'
import { inPieces } from './pieces'
import { asRows, type Rows } from './rows'

/** Types of one element, and of four: of memory and of arithmetic. */
const VALUES: readonly Constants[] = [
  { Stored: 'f32', Value: 'f32' },
  { Stored: 'f16', Value: 'f32' },
  { Stored: 'vec4<f32>', Value: 'vec4<f32>' },
  { Stored: 'vec4<f16>', Value: 'vec4<f32>' },
]

/** Variants of an elementwise shader: types, and which inputs may be the result `out` (`A_IS_OUT`, …). */
export function elementVariants(inputs: readonly string[]): Constants[] {
  const flags = Object.fromEntries(inputs.map((name) => [flagOf(name), [false, true]]))
  return VALUES.flatMap((types) => combinations(flags).map((flagged) => ({ ...types, ...flagged })))
}

/** Invocations of a workgroup in elements.wgsl. */
export const WORKGROUP = 256

/** An elementwise entry point with its tensors, by binding name. */
export interface Elementwise {
  readonly shader: Shader
  readonly entry: string
  /** Of one shape. Params has `start<Name>` and `stride<Name>` for each, and 0 for what the entry point does not use. */
  readonly inputs: Readonly<Record<string, Tensor>>
  /** Contiguous; Params has `start<Name>` for each. The one named `out` may be an input. */
  readonly outputs: Readonly<Record<string, WebGPUTensor>>
  /** Other params. */
  readonly rest?: Readonly<Record<string, number>>
}

/** Runs an elementwise entry point; contiguous tensors beyond the binding limit piece by piece. */
export function runElements(ctx: KernelContext, kernel: string, { inputs, outputs, ...of }: Elementwise): void {
  const [first] = Object.values(outputs) as [WebGPUTensor]
  const type = ctx.element(kernel, first.dtype)
  const pieces = inPieces(ctx, { ...inputs, ...outputs })
  if (pieces.length === 1) {
    runPiece(ctx, type, { ...of, inputs, outputs })
    return
  }
  for (const piece of pieces) {
    const pick = <T>(from: Readonly<Record<string, T>>) => Object.fromEntries(Object.keys(from).map((name) => [name, piece[name]]))
    runPiece(ctx, type, { ...of, inputs: pick(inputs) as typeof inputs, outputs: pick(outputs) as typeof outputs })
  }
}

function runPiece(ctx: KernelContext, type: string, { shader, entry, inputs, outputs, rest }: Elementwise): void {
  const rows = Object.keys(inputs).map((name) => asRows(ctx, inputs[name] as Tensor))
  const results = Object.keys(outputs).map((name) => asRows(ctx, outputs[name] as Tensor))
  const { count, columns, flat, width } = layoutOf(rows, results)
  const constants: Record<string, string | boolean> =
    width === 4 ? { Stored: `vec4<${type}>`, Value: 'vec4<f32>' } : { Stored: type, Value: 'f32' }
  const params: Record<string, number> = {}
  const bindings: Record<string, Rows | Tensor> = {}
  for (const { name } of shader.interface.params) params[name] = 0
  for (const name in shader.variants[0]) if (name.endsWith(IS_OUT)) constants[name] = false
  params.count = count / width
  params.columns = columns / width
  Object.keys(inputs).forEach((name, i) => {
    const row = rows[i] as Rows
    const aliased = sameElements(inputs[name] as Tensor, outputs.out)
    if (aliased) constants[flagOf(name)] = true
    bindings[name] = aliased ? ctx.placeholder : row
    params[`start${capital(name)}`] = row.start / width
    params[`stride${capital(name)}`] = flat ? 0 : row.stride / width
  })
  Object.keys(outputs).forEach((name, i) => {
    const row = results[i] as Rows
    bindings[name] = row
    params[`start${capital(name)}`] = row.start / width
  })
  const workgroups = ctx.grid(Math.ceil(count / width / WORKGROUP))
  ctx.run({ shader, entry, constants, bindings, params: { ...params, ...rest }, workgroups })
}

/** How an elementwise dispatch sees its tensors: as one row or many, by one element or four. */
interface Layout {
  readonly count: number
  readonly columns: number
  /** All tensors are contiguous, and so one row. */
  readonly flat: boolean
  readonly width: 1 | 4
}

function layoutOf(inputs: readonly Rows[], outputs: readonly Rows[]): Layout {
  const { rows, columns } = outputs[0] as Rows
  const flat = inputs.every(({ stride }) => stride === columns) || rows <= 1
  const count = rows * columns
  const starts = [...inputs, ...outputs].every(({ start }) => start % 4 === 0)
  const strides = flat ? count % 4 === 0 : [columns, ...inputs.map(({ stride }) => stride)].every((step) => step % 4 === 0)
  return { count, columns: Math.max(1, flat ? count : columns), flat, width: starts && strides && count > 0 ? 4 : 1 }
}

/** Whether an input is the result, element by element, so that each invocation may read it through the other. */
export function sameElements(input: Tensor, out: WebGPUTensor | undefined): boolean {
  const { storage, byteOffset, strides } = input as WebGPUTensor
  return (
    out !== undefined &&
    storage === out.storage &&
    byteOffset === out.byteOffset &&
    input.shape.every((size, axis) => size === 1 || strides[axis] === out.strides[axis])
  )
}

const IS_OUT = '_IS_OUT'

function flagOf(input: string): string {
  return `${input.toUpperCase()}${IS_OUT}`
}

function capital(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1)
}
