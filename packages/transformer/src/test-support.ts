import { createReferenceBackend } from '@tilegrad/core-math'
import type { Backend, Tensor } from '@tilegrad/tensor'
import type { GPTConfigOptions } from './config'

/** What model tests run on: the plain float32 backend, and the fast one that runs on every machine. Tests bring its constructor. */
export function testBackends(createCpuBackend: (options: { runtime: 'wasm'; threads: number }) => Promise<Backend>) {
  return [
    { name: 'reference f32', create: async () => createReferenceBackend({ precision: 'f32' }) },
    { name: 'cpu wasm', create: () => createCpuBackend({ runtime: 'wasm', threads: 2 }) },
  ]
}

/** One small model of each architecture. */
export const tinyConfigs: readonly GPTConfigOptions[] = [
  { architecture: 'gpt2', vocabSize: 64, contextLength: 24, nLayers: 2, nHeads: 4, dModel: 32 },
  { architecture: 'llama', vocabSize: 64, contextLength: 24, nLayers: 2, nHeads: 4, nHeadsK: 2, dModel: 32 },
]

/** `count` token ids below `vocabSize`, without a short period. */
export function someTokens(count: number, vocabSize: number, salt = 0): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => ((i + salt) * (i + 7) * 31 + salt) % vocabSize)
}

/** The elements of a tensor. */
export async function numbersOf(tensor: Tensor): Promise<number[]> {
  return Array.from(await tensor.read())
}

/** The largest magnitude in a list. */
export function maxAbs(values: readonly number[]): number {
  return values.reduce((m, x) => Math.max(m, Math.abs(x)), 0)
}
