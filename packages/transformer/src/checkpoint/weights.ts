import { type Backend, formatShape, shapesEqual, type Tensor } from '@tilegrad/tensor'
import type { GPTConfig } from '../config'
import { CheckpointError } from '../errors/checkpoint-error'
import { parameterSpecs } from '../parameters'
import type { TensorSource } from './safetensors'

/** What older checkpoints store beside the weights: masks and frequencies that follow from the config. */
const buffer = /(^|\.)(attn\.(bias|masked_bias)|rotary_emb\.inv_freq)$/

/**
 * Reads every weight of a model from `source`, as f32. Names may have or lack the base model's prefix (`transformer.`, `model.`).
 * @throws CheckpointError naming the first tensor that is missing, misshapen, ambiguous or not the model's, before anything is read.
 */
export async function loadWeights(file: string, source: TensorSource, config: GPTConfig, backend: Backend): Promise<Map<string, Tensor>> {
  const storedNames = matchNames(file, source, config)
  const weights = new Map<string, Tensor>()
  try {
    for (const [name, { shape }] of parameterSpecs(config)) {
      const data = await source.readF32(storedNames.get(name) as string)
      weights.set(name, backend.keep(backend.tensor(data, shape)))
    }
    return weights
  } catch (error) {
    for (const tensor of weights.values()) tensor.dispose()
    throw error
  }
}

/** For each weight of the model, the name of the tensor in `source` that holds it. */
function matchNames(file: string, source: TensorSource, config: GPTConfig): Map<string, string> {
  const specs = parameterSpecs(config)
  const prefix = config.architecture === 'gpt2' ? 'transformer.' : 'model.'
  const matched = new Map<string, string>()
  for (const [stored, shape] of source.shapes) {
    if (buffer.test(stored) || (config.tieEmbeddings && stored === 'lm_head.weight')) continue
    const name = specs.has(stored) ? stored : prefix + stored
    const spec = specs.get(name)
    if (!spec) throw new CheckpointError(file, `unexpected tensor '${stored}': config.json describes a model without it`)
    const other = matched.get(name)
    if (other !== undefined) throw new CheckpointError(file, `tensors '${other}' and '${stored}' are the same weight`)
    if (!shapesEqual(spec.shape, shape)) {
      throw new CheckpointError(file, `tensor '${stored}' must be ${formatShape(spec.shape)}, got ${formatShape(shape)}`)
    }
    matched.set(name, stored)
  }
  for (const name of specs.keys()) if (!matched.has(name)) throw new CheckpointError(file, `tensor '${name}' is missing`)
  return matched
}
