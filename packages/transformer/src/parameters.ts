import type { GPTConfig } from './config'

/** One weight of a model: its shape and how it starts. */
export interface ParameterSpec {
  readonly shape: readonly number[]
  /** Standard deviation of a normal start, or a constant one. */
  readonly init: { readonly std: number } | { readonly constant: number }
}

const zeros = { constant: 0 }
const ones = { constant: 1 }
/** GPT-2's: section 2.3 of its paper and its published code. */
const std = 0.02

/**
 * Every weight of a model by its Hugging Face name, in the order of the forward pass.
 * Start as in GPT-2: normal(0, 0.02), and 0.02/√(2·nLayers) for the two projections of a block that write to the residual stream. Attention
 * sinks, named as in GPT-OSS, start at 0: as likely as a token with an average score.
 */
export function parameterSpecs(config: GPTConfig): Map<string, ParameterSpec> {
  return new Map(config.architecture === 'gpt2' ? gpt2Specs(config) : llamaSpecs(config))
}

/** GPT2LMHeadModel; its Conv1D weights are [in, out]. */
function* gpt2Specs(config: GPTConfig): Generator<[string, ParameterSpec]> {
  const { dModel, intermediateSize, vocabSize, contextLength, nLayers, nHeads, tieEmbeddings } = config
  const residual = { std: std / Math.sqrt(2 * nLayers) }
  yield ['transformer.wte.weight', { shape: [vocabSize, dModel], init: { std } }]
  if (config.positions === 'learned') yield ['transformer.wpe.weight', { shape: [contextLength, dModel], init: { std } }]
  for (let layer = 0; layer < nLayers; layer++) {
    const block = `transformer.h.${layer}.`
    yield* layerNorm(`${block}ln_1`)
    yield* conv1D(`${block}attn.c_attn`, dModel, 3 * dModel, { std })
    if (config.attentionSink) yield [`${block}attn.sinks`, { shape: [nHeads], init: zeros }]
    yield* conv1D(`${block}attn.c_proj`, dModel, dModel, residual)
    yield* layerNorm(`${block}ln_2`)
    yield* conv1D(`${block}mlp.c_fc`, dModel, intermediateSize, { std })
    yield* conv1D(`${block}mlp.c_proj`, intermediateSize, dModel, residual)
  }
  yield* layerNorm('transformer.ln_f')
  if (!tieEmbeddings) yield ['lm_head.weight', { shape: [vocabSize, dModel], init: { std } }]

  function* layerNorm(name: string): Generator<[string, ParameterSpec]> {
    yield [`${name}.weight`, { shape: [dModel], init: ones }]
    yield [`${name}.bias`, { shape: [dModel], init: zeros }]
  }
  function* conv1D(name: string, nIn: number, nOut: number, init: { std: number }): Generator<[string, ParameterSpec]> {
    yield [`${name}.weight`, { shape: [nIn, nOut], init }]
    yield [`${name}.bias`, { shape: [nOut], init: zeros }]
  }
}

/** LlamaForCausalLM; its Linear weights are [out, in], without biases. */
function* llamaSpecs(config: GPTConfig): Generator<[string, ParameterSpec]> {
  const { dModel, intermediateSize, vocabSize, nLayers, nHeads, nHeadsK, headDim, tieEmbeddings } = config
  const normal = { std }
  const residual = { std: std / Math.sqrt(2 * nLayers) }
  yield ['model.embed_tokens.weight', { shape: [vocabSize, dModel], init: normal }]
  for (let layer = 0; layer < nLayers; layer++) {
    const block = `model.layers.${layer}.`
    yield [`${block}input_layernorm.weight`, { shape: [dModel], init: ones }]
    yield [`${block}self_attn.q_proj.weight`, { shape: [nHeads * headDim, dModel], init: normal }]
    yield [`${block}self_attn.k_proj.weight`, { shape: [nHeadsK * headDim, dModel], init: normal }]
    yield [`${block}self_attn.v_proj.weight`, { shape: [nHeadsK * headDim, dModel], init: normal }]
    if (config.attentionSink) yield [`${block}self_attn.sinks`, { shape: [nHeads], init: zeros }]
    yield [`${block}self_attn.o_proj.weight`, { shape: [dModel, nHeads * headDim], init: residual }]
    yield [`${block}post_attention_layernorm.weight`, { shape: [dModel], init: ones }]
    yield [`${block}mlp.gate_proj.weight`, { shape: [intermediateSize, dModel], init: normal }]
    yield [`${block}mlp.up_proj.weight`, { shape: [intermediateSize, dModel], init: normal }]
    yield [`${block}mlp.down_proj.weight`, { shape: [dModel, intermediateSize], init: residual }]
  }
  yield ['model.norm.weight', { shape: [dModel], init: ones }]
  if (!tieEmbeddings) yield ['lm_head.weight', { shape: [vocabSize, dModel], init: normal }]
}
