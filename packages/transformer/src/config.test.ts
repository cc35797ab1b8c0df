import { describe, expect, test } from 'vitest'
import { fromHuggingFace, toHuggingFace } from './checkpoint/hf-config'
import { type GPTConfigOptions, resolveConfig } from './config'
import { tinyConfigs } from './test-support'

const gpt2: GPTConfigOptions = { vocabSize: 100, contextLength: 64, nLayers: 2, nHeads: 4, dModel: 64 }
const llama: GPTConfigOptions = { ...gpt2, architecture: 'llama' }

describe('resolveConfig', () => {
  test("fills in each architecture's defaults", () => {
    expect(resolveConfig(gpt2)).toMatchObject({
      architecture: 'gpt2',
      nHeadsK: 4,
      headDim: 16,
      intermediateSize: 256,
      tieEmbeddings: true,
      attentionImpl: 'flash',
      positions: 'learned',
      attentionPattern: [{ type: 'dense' }],
      attentionSink: false,
      attentionDropout: 0,
    })
    // 8/3·64 = 170.7, up to a multiple of 32.
    expect(resolveConfig(llama)).toMatchObject({ nHeadsK: 4, intermediateSize: 192, tieEmbeddings: false, ropeTheta: 10000 })
  })

  test.each<[object, string]>([
    [{ vocabSize: 0 }, 'GPTConfig: vocabSize must be a positive integer, got 0'],
    [{ contextLength: 1.5 }, 'contextLength must be a positive integer, got 1.5'],
    [{ nLayers: '2' }, 'nLayers must be a positive integer, got "2"'],
    [{ nHeads: 3 }, 'dModel must be a multiple of nHeads (3), got 64'],
    [{ dModel: undefined }, 'dModel must be a positive integer, got undefined'],
    [{ architecture: 'bert' }, `architecture must be 'gpt2' or 'llama', got "bert"`],
    [{ nHeadsK: 2 }, 'nHeadsK must equal nHeads (4) in GPT-2, got 2'],
    [{ headDim: 8 }, 'headDim must be dModel / nHeads (16) in GPT-2, got 8'],
    [{ architecture: 'llama', nHeadsK: 3 }, 'nHeadsK must divide nHeads (4), got 3'],
    [{ architecture: 'llama', headDim: 15 }, 'headDim must be even (rotary pairs), got 15'],
    [{ architecture: 'llama', headDim: 258 }, 'headDim must be at most 256, got 258'],
    [{ intermediateSize: -1 }, 'intermediateSize must be a positive integer, got -1'],
    [{ normEps: 0 }, 'normEps must be a finite number above 0, got 0'],
    [{ ropeTheta: Number.NaN }, 'ropeTheta must be a finite number above 0, got NaN'],
    [
      { ropeScaling: { factor: 8, lowFreqFactor: 4, highFreqFactor: 1, originalContextLength: 8 } },
      'ropeScaling.highFreqFactor must be above lowFreqFactor (4), got 1',
    ],
    [{ attentionImpl: 'fast' }, `attentionImpl must be 'flash' or 'standard', got "fast"`],
    [{ positions: 'rotary' }, `positions must be 'learned' or 'alibi' in gpt2, got "rotary"`],
    [{ attentionPattern: [] }, 'attentionPattern must be one pattern or a list of 1 to nLayers (2), got 0'],
    [{ attentionPattern: 'window' }, 'attentionPattern must have a type among dense, window, localGlobal'],
    [{ attentionPattern: { type: 'window' } }, 'attentionPattern must have size, an integer ≥ 1, got {"type":"window"}'],
    [{ attentionPattern: { type: 'window', size: 4, left: 1 } }, 'have the fields type, size as a window pattern'],
    [{ attentionPattern: { type: 'butterfly', blockSize: 100 } }, 'have a blockSize that is a multiple of 64'],
    [
      { attentionPattern: { type: 'window', size: 8 }, attentionImpl: 'standard' },
      "attentionPattern must be dense with attentionImpl 'standard'",
    ],
    [{ positions: 'alibi', attentionImpl: 'standard' }, "positions must be 'learned' with attentionImpl 'standard'"],
    [{ attentionSink: 1 }, 'attentionSink must be true or false, got 1'],
    [{ attentionDropout: 1 }, 'attentionDropout must be in [0, 1), got 1'],
    [{ tieEmbeddings: 1 }, 'tieEmbeddings must be true or false, got 1'],
    [{ activationCheckpointing: 'yes' }, 'activationCheckpointing must be true or false, got "yes"'],
    [{ eosTokenId: 100 }, 'eosTokenId must be null or an integer in 0..99, got 100'],
    [{ n_layer: 2 }, "fields must be those of GPTConfigOptions, got 'n_layer'"],
  ])('refuses %o', (change, message) => {
    expect(() => resolveConfig({ ...gpt2, ...change } as GPTConfigOptions)).toThrow(message)
    expect(() => resolveConfig({ ...gpt2, ...change } as GPTConfigOptions)).toThrow(expect.objectContaining({ name: 'ArgumentError' }))
  })
})

describe('config.json', () => {
  const scaling = { factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalContextLength: 16 }
  test.each([
    ...tinyConfigs,
    { ...llama, headDim: 32, ropeScaling: scaling, eosTokenId: [3, 4], bosTokenId: 1 },
    { ...gpt2, attentionPattern: [{ type: 'window' as const, size: 7 }, { type: 'dense' as const }], attentionDropout: 0.25 },
    { ...llama, positions: 'alibi' as const, attentionSink: true, attentionDropout: 0.125 },
  ])('holds all of %o', (options) => {
    const config = resolveConfig(options)
    const stored = JSON.parse(JSON.stringify(toHuggingFace(config, 'bf16')))
    expect(stored.torch_dtype).toBe('bfloat16')
    expect(resolveConfig(fromHuggingFace('config.json', stored))).toEqual(config)
  })

  test('has what transformers needs', () => {
    const stored = toHuggingFace(resolveConfig(gpt2), 'f32')
    expect(stored).toMatchObject({
      architectures: ['GPT2LMHeadModel'],
      model_type: 'gpt2',
      n_positions: 64,
      n_embd: 64,
      n_layer: 2,
      n_head: 4,
    })
    expect(stored).toMatchObject({ activation_function: 'gelu_new', eos_token_id: null, tie_word_embeddings: true })
    const other = toHuggingFace(resolveConfig({ ...llama, nHeadsK: 2 }), 'f32')
    expect(other).toMatchObject({ architectures: ['LlamaForCausalLM'], model_type: 'llama', max_position_embeddings: 64, hidden_size: 64 })
    expect(other).toMatchObject({
      num_key_value_heads: 2,
      rms_norm_eps: 1e-5,
      hidden_act: 'silu',
      tie_word_embeddings: false,
      head_dim: 16,
    })
  })

  test("reads the hub's gpt2", () => {
    // The fields of https://huggingface.co/gpt2 that bear on the model.
    const hub = {
      activation_function: 'gelu_new',
      architectures: ['GPT2LMHeadModel'],
      attn_pdrop: 0.1,
      bos_token_id: 50256,
      embd_pdrop: 0.1,
      eos_token_id: 50256,
      initializer_range: 0.02,
      layer_norm_epsilon: 1e-5,
      model_type: 'gpt2',
      n_ctx: 1024,
      n_embd: 768,
      n_head: 12,
      n_layer: 12,
      n_positions: 1024,
      resid_pdrop: 0.1,
      vocab_size: 50257,
    }
    expect(resolveConfig(fromHuggingFace('config.json', hub))).toEqual(
      resolveConfig({
        vocabSize: 50257,
        contextLength: 1024,
        nLayers: 12,
        nHeads: 12,
        dModel: 768,
        bosTokenId: 50256,
        eosTokenId: 50256,
        attentionDropout: 0.1,
      }),
    )
  })

  const hubLlama = {
    model_type: 'llama',
    vocab_size: 128256,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
    hidden_act: 'silu',
    max_position_embeddings: 131072,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    rope_scaling: { factor: 32, high_freq_factor: 4, low_freq_factor: 1, original_max_position_embeddings: 8192, rope_type: 'llama3' },
    tie_word_embeddings: true,
    eos_token_id: [128001, 128008],
  }

  test('reads Llama 3.2, in the layout of transformers 4 and 5', () => {
    const config = resolveConfig(fromHuggingFace('config.json', hubLlama))
    expect(config).toMatchObject({
      nHeads: 32,
      nHeadsK: 8,
      headDim: 64,
      ropeTheta: 500000,
      tieEmbeddings: true,
      eosTokenId: [128001, 128008],
    })
    expect(config.ropeScaling).toEqual({ factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalContextLength: 8192 })
    const { rope_scaling, rope_theta, ...rest } = hubLlama
    const moved = { ...rest, rope_parameters: { ...rope_scaling, rope_theta } }
    expect(resolveConfig(fromHuggingFace('config.json', moved))).toEqual(config)
  })

  test('takes token ids outside the vocabulary, which some hub models have, for none', () => {
    const config = fromHuggingFace('config.json', { ...hubLlama, bos_token_id: -1, eos_token_id: [128256, 5] })
    expect(resolveConfig(config)).toMatchObject({ bosTokenId: null, eosTokenId: [5] })
    expect(resolveConfig(fromHuggingFace('config.json', { ...hubLlama, eos_token_id: 200000 })).eosTokenId).toBe(null)
  })

  test.each([
    [{ model_type: 'mistral' }, `c.json: model_type must be 'gpt2' or 'llama', got "mistral"`],
    [{ hidden_act: 'gelu' }, `'hidden_act' must be "silu" (others are not implemented), got "gelu"`],
    [{ attention_bias: true }, "'attention_bias' must be false (others are not implemented), got true"],
    [{ rope_scaling: { type: 'linear', factor: 2 } }, `rope_type must be 'default' or 'llama3', got "linear"`],
    [{ hidden_size: undefined }, "'hidden_size' must be a number, got none"],
    [{ vocab_size: '9' }, `'vocab_size' must be a number, got "9"`],
    [{ rope_scaling: 3 }, "'rope_scaling' must be an object, got 3"],
  ])('refuses %o', (change, message) => {
    expect(() => fromHuggingFace('c.json', { ...hubLlama, ...change })).toThrow(message)
  })

  test('refuses what is no object', () => {
    for (const json of [null, [], 'x']) expect(() => fromHuggingFace('c.json', json)).toThrow('c.json: must be a JSON object')
  })
})
