import { type Backend, numel, type Tensor } from '@tilegrad/tensor'
import type { GradcheckInput } from './gradcheck'

/** Fixed normal numbers (Box–Muller over a linear congruential generator), one stream per seed. */
export function normal(length: number, seed: number): Float64Array {
  let state = (seed * 2654435761 + 1) >>> 0
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state + 0.5) / 2 ** 32
  }
  return Float64Array.from({ length }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()))
}

/** An input of gradcheck, filled by its shape and `seed`. */
export function input(shape: readonly number[], seed = 1): GradcheckInput {
  return { shape, data: normal(numel(shape), seed + 17 * shape.length) }
}

/** A tensor of normal numbers. */
export function randomTensor(backend: Backend, shape: readonly number[], seed = 1): Tensor {
  return backend.tensor(normal(numel(shape), seed), shape)
}
