import { TilegradError } from '@tilegrad/tensor'

type ParamType = 'u32' | 'i32' | 'f32'

/** A storage buffer, or a texture that is read. */
export interface BindingInterface {
  readonly name: string
  readonly index: number
  readonly kind: 'read' | 'read_write' | 'texture'
}

/** What a shader declares: storage buffers and textures of group 0, the fields of `struct Params` (the uniform of group 1, binding 0), and entry points. */
export interface ShaderInterface {
  readonly bindings: readonly BindingInterface[]
  readonly params: readonly { readonly name: string; readonly type: ParamType }[]
  readonly entries: readonly string[]
}

/** Reads the declarations that the host must know from the text of a `.wgsl` file, so that they stand in one place. */
export function reflect(text: string): ShaderInterface {
  const code = text.replaceAll(/\/\/.*$/gm, '')
  const buffers = code.matchAll(/@group\(0\)\s*@binding\((\d+)\)\s*var<storage,\s*(read|read_write)>\s*(\w+)/g)
  const textures = code.matchAll(/@group\(0\)\s*@binding\((\d+)\)\s*var\s+(\w+)\s*:\s*texture_storage_2d<rgba32float,\s*read>/g)
  const bindings: BindingInterface[] = [
    ...[...buffers].map(([, index, kind, name]) => ({ name, index: Number(index), kind }) as BindingInterface),
    ...[...textures].map(([, index, name]) => ({ name, index: Number(index), kind: 'texture' }) as BindingInterface),
  ]
  const struct = /struct\s+Params\s*\{([^}]*)\}/.exec(code)?.[1] ?? ''
  const fields = [...struct.matchAll(/(\w+)\s*:\s*([\w<>]+)/g)]
  return {
    bindings: bindings.sort((a, b) => a.index - b.index),
    params: fields.map(([, name, type]) => ({ name: name as string, type: paramType(name as string, type as string) })),
    entries: [...code.matchAll(/@compute\b[^{]*?\bfn\s+(\w+)/g)].map(([, name]) => name as string),
  }
}

function paramType(name: string, type: string): ParamType {
  if (type === 'u32' || type === 'i32' || type === 'f32') return type
  throw new TilegradError(`Params.${name} must be u32, i32 or f32, got ${type}`)
}

/** `values` as the fields of Params, 4 bytes each. */
export function packParams(fields: ShaderInterface['params'], values: Readonly<Record<string, number>>): ArrayBuffer {
  const bytes = new ArrayBuffer(4 * fields.length)
  const view = new DataView(bytes)
  if (Object.keys(values).length !== fields.length) {
    throw new TilegradError(`params must be ${fields.map(({ name }) => name).join(', ')}, got ${Object.keys(values).join(', ')}`)
  }
  fields.forEach(({ name, type }, i) => {
    const value = values[name] ?? Number.NaN
    if (type === 'f32' && name in values) view.setFloat32(4 * i, value, true)
    else if (type === 'u32' && Number.isInteger(value) && value >= 0 && value < 2 ** 32) view.setUint32(4 * i, value, true)
    else if (type === 'i32' && Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31) view.setInt32(4 * i, value, true)
    else throw new TilegradError(`param ${name} must be ${type}, got ${values[name]}`)
  })
  return bytes
}
