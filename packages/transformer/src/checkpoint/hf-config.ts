import type { GPTConfig, GPTConfigOptions, Llama3RopeScaling } from '../config'
import { CheckpointError } from '../errors/checkpoint-error'

type Json = Readonly<Record<string, unknown>>

/** Name of each dtype in config.json. */
export const torchDType = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' } as const

/** The config.json that `transformers` needs to load the model. What it has no field for stands under `tilegrad`. */
export function toHuggingFace(config: GPTConfig, dtype: keyof typeof torchDType): Json {
  const own = ownFields(config)
  const common = {
    vocab_size: config.vocabSize,
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenId,
    tie_word_embeddings: config.tieEmbeddings,
    initializer_range: 0.02,
    use_cache: true,
    torch_dtype: torchDType[dtype],
    ...(Object.keys(own).length > 0 && { tilegrad: own }),
  }
  if (config.architecture === 'gpt2') {
    return {
      architectures: ['GPT2LMHeadModel'],
      model_type: 'gpt2',
      n_positions: config.contextLength,
      n_ctx: config.contextLength,
      n_embd: config.dModel,
      n_layer: config.nLayers,
      n_head: config.nHeads,
      n_inner: config.intermediateSize,
      activation_function: 'gelu_new',
      layer_norm_epsilon: config.normEps,
      attn_pdrop: config.attentionDropout,
      embd_pdrop: 0,
      resid_pdrop: 0,
      ...common,
    }
  }
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    max_position_embeddings: config.contextLength,
    hidden_size: config.dModel,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.nLayers,
    num_attention_heads: config.nHeads,
    num_key_value_heads: config.nHeadsK,
    head_dim: config.headDim,
    hidden_act: 'silu',
    rms_norm_eps: config.normEps,
    rope_theta: config.ropeTheta,
    rope_scaling: config.ropeScaling && {
      rope_type: 'llama3',
      factor: config.ropeScaling.factor,
      low_freq_factor: config.ropeScaling.lowFreqFactor,
      high_freq_factor: config.ropeScaling.highFreqFactor,
      original_max_position_embeddings: config.ropeScaling.originalContextLength,
    },
    attention_bias: false,
    mlp_bias: false,
    attention_dropout: config.attentionDropout,
    ...common,
  }
}

/** What `transformers` has no field for. */
function ownFields({ architecture, attentionPattern, attentionSink, positions }: GPTConfig): Partial<GPTConfig> {
  return {
    ...(attentionPattern.some(({ type }) => type !== 'dense') && { attentionPattern }),
    ...(attentionSink && { attentionSink }),
    ...(positions !== (architecture === 'gpt2' ? 'learned' : 'rotary') && { positions }),
  }
}

/**
 * The options of the model that a config.json describes; `resolveConfig` checks and completes them.
 * @throws CheckpointError naming the field that is missing, or whose value this package does not implement.
 */
export function fromHuggingFace(file: string, json: unknown): GPTConfigOptions {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new CheckpointError(file, 'must be a JSON object')
  const fields = new Fields(file, json as Json)
  const type = fields.get('model_type')
  if (type === 'gpt2') return gpt2Options(fields)
  if (type === 'llama') return llamaOptions(fields)
  throw new CheckpointError(file, `model_type must be 'gpt2' or 'llama', got ${JSON.stringify(type)}`)
}

function gpt2Options(fields: Fields): GPTConfigOptions {
  fields.mustBe('activation_function', 'gelu_new', 'gelu_pytorch_tanh')
  fields.mustBe('scale_attn_weights', true)
  fields.mustBe('scale_attn_by_inverse_layer_idx', false)
  fields.mustBe('add_cross_attention', false)
  const dModel = fields.number('n_embd')
  return {
    architecture: 'gpt2',
    dModel,
    contextLength: fields.number('n_positions'),
    nLayers: fields.number('n_layer'),
    nHeads: fields.number('n_head'),
    intermediateSize: fields.number('n_inner', 4 * dModel),
    normEps: fields.number('layer_norm_epsilon', 1e-5),
    tieEmbeddings: fields.boolean('tie_word_embeddings', true),
    attentionDropout: fields.number('attn_pdrop', 0),
    ...commonOptions(fields),
  }
}

function llamaOptions(fields: Fields): GPTConfigOptions {
  fields.mustBe('hidden_act', 'silu')
  fields.mustBe('attention_bias', false)
  fields.mustBe('mlp_bias', false)
  // Transformers 5 moved the rotary fields into rope_parameters.
  const rope = fields.object('rope_parameters') ?? fields.object('rope_scaling')
  const dModel = fields.number('hidden_size')
  const nHeads = fields.number('num_attention_heads')
  const ropeScaling = rope && llama3Scaling(rope)
  return {
    architecture: 'llama',
    dModel,
    nHeads,
    contextLength: fields.number('max_position_embeddings'),
    nLayers: fields.number('num_hidden_layers'),
    nHeadsK: fields.number('num_key_value_heads', nHeads),
    headDim: fields.number('head_dim', dModel / nHeads),
    intermediateSize: fields.number('intermediate_size'),
    normEps: fields.number('rms_norm_eps', 1e-6),
    ropeTheta: fields.object('rope_parameters')?.number('rope_theta') ?? fields.number('rope_theta', 10000),
    tieEmbeddings: fields.boolean('tie_word_embeddings', false),
    attentionDropout: fields.number('attention_dropout', 0),
    ...(ropeScaling && { ropeScaling }),
    ...commonOptions(fields),
  }
}

function llama3Scaling(rope: Fields): Llama3RopeScaling | undefined {
  const type = rope.get('rope_type') ?? rope.get('type') ?? 'default'
  if (type === 'default') return undefined
  if (type !== 'llama3') throw new CheckpointError(rope.file, `rope_type must be 'default' or 'llama3', got ${JSON.stringify(type)}`)
  return {
    factor: rope.number('factor'),
    lowFreqFactor: rope.number('low_freq_factor'),
    highFreqFactor: rope.number('high_freq_factor'),
    originalContextLength: rope.number('original_max_position_embeddings'),
  }
}

function commonOptions(fields: Fields): Partial<GPTConfigOptions> & Pick<GPTConfigOptions, 'vocabSize'> {
  const own = fields.object('tilegrad')?.pick('attentionPattern', 'attentionSink', 'positions')
  const vocabSize = fields.number('vocab_size')
  const eos = fields.get('eos_token_id')
  return {
    vocabSize,
    bosTokenId: idsBelow(vocabSize, fields.get('bos_token_id'))[0] ?? null,
    eosTokenId: Array.isArray(eos) ? idsBelow(vocabSize, ...eos) : (idsBelow(vocabSize, eos)[0] ?? null),
    ...(own as Partial<GPTConfigOptions>),
  }
}

/** Those that are ids of tokens: published configs also say "none" by −1, or keep the ids of a larger vocabulary. */
function idsBelow(vocabSize: number, ...ids: readonly unknown[]): number[] {
  return ids.filter((id): id is number => Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocabSize)
}

/** Typed access to the fields of one JSON object. */
class Fields {
  constructor(
    readonly file: string,
    private readonly json: Json,
  ) {}

  get(name: string): unknown {
    return Object.hasOwn(this.json, name) ? this.json[name] : undefined
  }

  /** Those of the named fields that are there, for `resolveConfig` to check. */
  pick(...names: readonly string[]): Json {
    return Object.fromEntries(names.filter((name) => this.get(name) !== undefined).map((name) => [name, this.get(name)]))
  }

  /** null counts as absent, as it does in transformers. */
  number(name: string, fallback?: number): number {
    const value = this.get(name) ?? fallback
    if (typeof value === 'number') return value
    throw new CheckpointError(this.file, `'${name}' must be a number, got ${JSON.stringify(value) ?? 'none'}`)
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.get(name) ?? fallback
    if (typeof value === 'boolean') return value
    throw new CheckpointError(this.file, `'${name}' must be true or false, got ${JSON.stringify(value)}`)
  }

  object(name: string): Fields | undefined {
    const value = this.get(name) ?? undefined
    if (value === undefined) return undefined
    if (typeof value === 'object' && !Array.isArray(value)) return new Fields(this.file, value as Json)
    throw new CheckpointError(this.file, `'${name}' must be an object, got ${JSON.stringify(value)}`)
  }

  /** Refuses what the model would compute differently; an absent field means the first of `allowed`. */
  mustBe(name: string, ...allowed: readonly unknown[]): void {
    const value = this.get(name) ?? allowed[0]
    if (allowed.includes(value)) return
    const expected = allowed.map((a) => JSON.stringify(a)).join(' or ')
    throw new CheckpointError(this.file, `'${name}' must be ${expected} (others are not implemented), got ${JSON.stringify(value)}`)
  }
}
