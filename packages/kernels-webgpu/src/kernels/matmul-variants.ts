import { type Constants, combinations } from '../shader'

/** Element types of a, b and the result. The mixed ones are those of linearCrossEntropy, whose logits are f32. */
export const MATMUL_TYPES = [
  ['f32', 'f32', 'f32'],
  ['f16', 'f16', 'f16'],
  ['f16', 'f16', 'f32'],
  ['f32', 'f16', 'f16'],
  ['f32', 'f16', 'f32'],
] as const

export const TRANSPOSES = combinations({ TRANSPOSE_A: [false, true], TRANSPOSE_B: [false, true] })

/** @param stored `element` for results stored one by one, `vector` for fours */
export function typesOf([a, b, out]: readonly [string, string, string], vector: boolean, stored: 'element' | 'vector'): Constants {
  const types = { VectorA: `vec4<${a}>`, VectorB: `vec4<${b}>`, BiasElement: b, StoredOut: stored === 'vector' ? `vec4<${out}>` : out }
  return { StoredA: vector ? types.VectorA : a, StoredB: vector ? types.VectorB : b, ...types, Value: 'vec4<f32>', VECTOR: vector }
}
