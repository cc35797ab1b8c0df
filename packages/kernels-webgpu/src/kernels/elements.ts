import { numel, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { type Constants, combinations, type Shader } from '../shader'
import type { WebGPUTensor } from '../tensor'
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

/** How an elementwise dispatch sees its tensors: one row or many, one element or four at a time. */
interface Layout {
  readonly count: number
  readonly columns: number
  readonly width: 1 | 4
}

/**
 * Runs an elementwise entry point on inputs of one shape.
 *
 * @param inputs by binding name; Params has `start<Name>` and `stride<Name>` for each, and 0 for what the entry point does not use
 * @param outputs by binding name, contiguous; Params has `start<Name>` for each
 * @param rest other params
 */
export function runElements(
  ctx: KernelContext,
  kernel: string,
  shader: Shader,
  entry: string,
  inputs: Readonly<Record<string, Tensor>>,
  outputs: Readonly<Record<string, WebGPUTensor>>,
  rest: Readonly<Record<string, number>> = {},
): void {
  const [first] = Object.values(outputs) as [WebGPUTensor]
  const type = ctx.element(kernel, first.dtype)
  const flags = Object.keys(shader.variants[0] ?? {}).filter((name) => name.endsWith(IS_OUT))
  const aliased = new Set(Object.entries(inputs).flatMap(([name, input]) => (sameElements(input, outputs.out) ? [name] : [])))
  const rows = Object.entries(inputs).map(([name, tensor]) => [name, aliased.has(name) ? asRows(ctx, first) : asRows(ctx, tensor)] as const)
  const results = Object.entries(outputs).map(([name, tensor]) => [name, asRows(ctx, tensor)] as const)
  const { count, columns, width } = layoutOf(
    rows.map(([, row]) => row),
    results.map(([, row]) => row),
    numel(first.shape),
  )
  const params: Record<string, number> = Object.fromEntries(shader.interface.params.map(({ name }) => [name, 0]))
  Object.assign(params, { count: count / width, columns: columns / width, ...rest })
  for (const [name, row] of rows) {
    params[`start${capital(name)}`] = row.start / width
    params[`stride${capital(name)}`] = row.stride / width
  }
  for (const [name, row] of results) params[`start${capital(name)}`] = row.start / width
  const vector = (of: string) => (width === 4 ? `vec4<${of}>` : of)
  const used = rows.map(([name, row]) => [name, aliased.has(name) ? ctx.placeholder : row] as const)
  ctx.run({
    shader,
    entry,
    constants: {
      Stored: vector(type),
      Value: vector('f32'),
      ...Object.fromEntries(flags.map((flag) => [flag, [...aliased].some((name) => flagOf(name) === flag)])),
    },
    bindings: Object.fromEntries([...used, ...results]),
    params,
    workgroups: ctx.grid(Math.ceil(count / width / WORKGROUP)),
  })
}

/** Contiguous tensors are one row; rows are taken four elements at a time where all of them allow it. */
function layoutOf(inputs: readonly Rows[], outputs: readonly Rows[], count: number): Layout {
  const flat = inputs.every(({ columns, stride, rows }) => stride === columns || rows <= 1)
  const columns = flat ? count : (inputs[0]?.columns ?? count)
  const aligned = [...inputs, ...outputs].every(({ start }) => start % 4 === 0) && (flat || inputs.every(({ stride }) => stride % 4 === 0))
  return { count, columns: Math.max(1, columns), width: aligned && columns % 4 === 0 && count > 0 ? 4 : 1 }
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
  return `${name[0]?.toUpperCase()}${name.slice(1)}`
}
