import { PhiloxStream } from '@tilegrad/core-math'
import { type Backend, numel, type Tensor } from '@tilegrad/tensor'
import type { GPTConfig } from './config'
import { parameterSpecs } from './parameters'

/** Fresh weights, a random stream of its own for each tensor: float32 numbers that depend on the seed and the config alone. */
export function* initialWeights(config: GPTConfig, backend: Backend, seed: number): Generator<[name: string, tensor: Tensor]> {
  let stream = 0
  for (const [name, { shape, init }] of parameterSpecs(config)) {
    const random = new PhiloxStream(seed, stream++)
    const draw = 'std' in init ? () => init.std * random.nextNormal() : () => init.constant
    yield [name, backend.tensor(Float32Array.from({ length: numel(shape) }, draw), shape)]
  }
}
