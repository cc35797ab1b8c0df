import type { Backend, Tensor } from '@tilegrad/tensor'
import type { GPTConfig, Llama3RopeScaling } from './config'

/** The two tables that the rope kernel reads, each f32 [contextLength, headDim / 2]. */
export interface RopeTable {
  readonly cos: Tensor
  readonly sin: Tensor
}

/** cos and sin of position · inverseFrequency, computed in float64. Source: arXiv 2104.09864, eq. 15. */
export function createRopeTable(backend: Backend, config: GPTConfig): RopeTable {
  const frequencies = inverseFrequencies(config)
  const shape = [config.contextLength, frequencies.length]
  const cos = new Float64Array(config.contextLength * frequencies.length)
  const sin = new Float64Array(cos.length)
  for (let position = 0, at = 0; position < config.contextLength; position++) {
    for (const frequency of frequencies) {
      cos[at] = Math.cos(position * frequency)
      sin[at++] = Math.sin(position * frequency)
    }
  }
  return { cos: backend.keep(backend.tensor(cos, shape, 'f32')), sin: backend.keep(backend.tensor(sin, shape, 'f32')) }
}

/** Radians per position of each rotary pair: ropeTheta^(−2i/headDim), rescaled where the model asks for it. */
export function inverseFrequencies({ headDim, ropeTheta, ropeScaling }: GPTConfig): Float64Array {
  const frequencies = Float64Array.from({ length: headDim / 2 }, (_, i) => ropeTheta ** ((-2 * i) / headDim))
  return ropeScaling ? frequencies.map((frequency) => scaleFrequency(frequency, ropeScaling)) : frequencies
}

/** Llama 3.1: slow frequencies are divided by `factor`, fast ones kept, those between blended (arXiv 2407.21783 §3.4 and its published code). */
function scaleFrequency(frequency: number, scaling: Llama3RopeScaling): number {
  const { factor, lowFreqFactor, highFreqFactor, originalContextLength } = scaling
  const turns = (originalContextLength * frequency) / (2 * Math.PI)
  const kept = Math.min(1, Math.max(0, (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor)))
  return frequency * ((1 - kept) / factor + kept)
}
