import { reflect, type ShaderInterface } from './reflect'

/** What a prelude defines: a number or boolean becomes a `const`, a string an `alias`. */
export type Constants = Readonly<Record<string, number | boolean | string>>

/** A `.wgsl` file. Its name is what messages call it. */
export interface WgslFile {
  readonly name: string
  readonly text: string
}

/**
 * A shader: `.wgsl` files that are compiled together under a generated prelude, and every prelude that they may get. Bindings, the `Params`
 * struct and entry points are read from their declarations in the files (reflect.ts).
 */
export interface Shader {
  readonly name: string
  readonly files: readonly WgslFile[]
  readonly variants: readonly Constants[]
  readonly interface: ShaderInterface
}

/**
 * Declares a shader.
 *
 * @param variants every set of constants that its kernels may ask for; the test compiles each, and `run` refuses any other
 * @param libraries files of functions that the first file uses
 */
export function defineShader(name: string, text: string, variants: readonly Constants[], libraries: readonly WgslFile[] = []): Shader {
  return {
    name,
    files: [{ name: `${name}.wgsl`, text }, ...libraries],
    variants,
    interface: reflect([text, ...libraries.map((library) => library.text)].join('\n')),
  }
}

/** All combinations of one value for each constant. */
export function combinations(domains: Readonly<Record<string, readonly Constants[string][]>>): Constants[] {
  return Object.entries(domains).reduce<Constants[]>(
    (made, [name, values]) => made.flatMap((constants) => values.map((value) => ({ ...constants, [name]: value }))),
    [{}],
  )
}

/** Extensions that WGSL must enable before use, by the constant that asks for them. */
const extensionOfFlag: Readonly<Record<string, string>> = {
  SUBGROUPS: 'subgroups',
  SUBGROUP_MATRIX: 'chromium_experimental_subgroup_matrix',
}

/** Extensions of a variant, which are the names of device features but for those of dashes and underscores. */
export function extensionsOf(constants: Constants): string[] {
  const entries = Object.entries(constants)
  const flagged = entries.flatMap(([name, value]) => (value === true && extensionOfFlag[name] ? [extensionOfFlag[name]] : []))
  const half = entries.some(([, value]) => typeof value === 'string' && /\bf16\b/.test(value))
  return half ? ['f16', ...flagged] : flagged
}

/** The lines that go before the files: extensions, aliases and constants. */
export function prelude(constants: Constants): string {
  const lines = extensionsOf(constants).map((extension) => `enable ${extension};`)
  for (const [name, value] of Object.entries(constants)) {
    if (typeof value === 'string') lines.push(`alias ${name} = ${value};`)
    else lines.push(`const ${name} = ${value};`)
  }
  return `${lines.join('\n')}\n`
}

/** The WGSL of a variant. */
export function assemble(shader: Shader, constants: Constants): string {
  return [prelude(constants), ...shader.files.map(({ text }) => (text.endsWith('\n') ? text : `${text}\n`))].join('')
}

/** The file and the line in it of a line (from 1) of `assemble(shader, constants)`. */
export function locate(shader: Shader, constants: Constants, line: number): { file: string; line: number; text: string } {
  let rest = line
  for (const { name, text } of [{ name: `${shader.name} prelude`, text: prelude(constants) }, ...shader.files]) {
    const lines = (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n')
    if (rest <= lines.length) return { file: name, line: rest, text: lines[rest - 1] ?? '' }
    rest -= lines.length
  }
  return { file: shader.name, line, text: '' }
}

/** Names a variant in messages: `Element=f16 VECTOR=4`. */
export function describeConstants(constants: Constants): string {
  return Object.entries(constants)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ')
}
