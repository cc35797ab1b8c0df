import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createReferenceBackend } from '@tilegrad/core-math'
import type { Tensor } from '@tilegrad/tensor'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { GPTConfigOptions } from '../config'
import { GPT } from '../model'
import { numbersOf, tinyConfigs } from '../test-support'
import { ByteTokenizer } from '../tokenizers/byte-tokenizer'
import { loadTokenizer } from '../tokenizers/load-tokenizer'
import { writeSafetensors } from './safetensors'

const backend = createReferenceBackend({ precision: 'f32' })
const [gpt2, llama] = tinyConfigs as [GPTConfigOptions, GPTConfigOptions]
let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pretrained-'))
})
afterEach(() => rm(folder, { recursive: true }))

const load = () => GPT.fromPretrained(folder, { backend })
const weightsOf = (model: GPT) => Array.from(model.parameters(), ([name, { value }]) => [name, value] as [string, Tensor])
const numbersByName = async (model: GPT) =>
  new Map(await Promise.all(weightsOf(model).map(async ([name, t]) => [name, await numbersOf(t)] as const)))
const rewrite = (weights: Iterable<readonly [string, Tensor]>) => writeSafetensors(join(folder, 'model.safetensors'), weights)

describe('save and fromPretrained', () => {
  test.each([gpt2, { ...gpt2, tieEmbeddings: false }, llama, { ...llama, tieEmbeddings: true }])('keep every bit of %o', async (config) => {
    const model = GPT.fromConfig(config, { backend, seed: 8 })
    await model.save(folder)
    expect((await readdir(folder)).sort()).toEqual(['config.json', 'model.safetensors'])
    const again = await load()
    expect(again.config).toEqual(model.config)
    expect(await numbersByName(again)).toEqual(await numbersByName(model))
  })

  test.each([
    ['f16', 2 ** -11],
    ['bf16', 2 ** -8],
  ] as const)('in %s round each weight to nearest', async (dtype, unitRoundoff) => {
    const model = GPT.fromConfig(llama, { backend, seed: 8 })
    await model.save(folder, { dtype })
    expect(JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')).torch_dtype).toBe(dtype === 'f16' ? 'float16' : 'bfloat16')
    const [exact, rounded] = [await numbersByName(model), await numbersByName(await load())]
    for (const [name, values] of exact) {
      // Below 2^-14 f16's spacing is that of its subnormals, 2^-24.
      const limit = (x: number) => Math.max(Math.abs(x) * unitRoundoff, dtype === 'f16' ? 2 ** -25 : 0)
      const off = values.filter((x, i) => !(Math.abs((rounded.get(name)?.[i] as number) - x) <= limit(x)))
      expect(off).toEqual([])
    }
  })

  test('write the tokenizer where one is given', async () => {
    await GPT.fromConfig(gpt2, { backend }).save(join(folder, 'deep', 'er'), { tokenizer: new ByteTokenizer() })
    expect((await readdir(join(folder, 'deep', 'er'))).sort()).toEqual([
      'config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ])
    expect(await loadTokenizer(join(folder, 'deep', 'er'))).toBeInstanceOf(ByteTokenizer)
  })

  test('the caller chooses how a loaded model computes', async () => {
    await GPT.fromConfig(gpt2, { backend }).save(folder)
    const model = await GPT.fromPretrained(folder, { backend, attentionImpl: 'standard', activationCheckpointing: true })
    expect(model.config).toMatchObject({ attentionImpl: 'standard', activationCheckpointing: true })
  })
})

describe('Hugging Face names', () => {
  test('are those of GPT2LMHeadModel', () => {
    const shapes = new Map(
      weightsOf(GPT.fromConfig({ ...gpt2, nLayers: 1, tieEmbeddings: false }, { backend })).map(([name, { shape }]) => [name, shape]),
    )
    expect(Object.fromEntries(shapes)).toEqual({
      'transformer.wte.weight': [64, 32],
      'transformer.wpe.weight': [24, 32],
      'transformer.h.0.ln_1.weight': [32],
      'transformer.h.0.ln_1.bias': [32],
      'transformer.h.0.attn.c_attn.weight': [32, 96],
      'transformer.h.0.attn.c_attn.bias': [96],
      'transformer.h.0.attn.c_proj.weight': [32, 32],
      'transformer.h.0.attn.c_proj.bias': [32],
      'transformer.h.0.ln_2.weight': [32],
      'transformer.h.0.ln_2.bias': [32],
      'transformer.h.0.mlp.c_fc.weight': [32, 128],
      'transformer.h.0.mlp.c_fc.bias': [128],
      'transformer.h.0.mlp.c_proj.weight': [128, 32],
      'transformer.h.0.mlp.c_proj.bias': [32],
      'transformer.ln_f.weight': [32],
      'transformer.ln_f.bias': [32],
      'lm_head.weight': [64, 32],
    })
  })

  test('are those of LlamaForCausalLM', () => {
    const shapes = new Map(weightsOf(GPT.fromConfig({ ...llama, nLayers: 1 }, { backend })).map(([name, { shape }]) => [name, shape]))
    expect(Object.fromEntries(shapes)).toEqual({
      'model.embed_tokens.weight': [64, 32],
      'model.layers.0.input_layernorm.weight': [32],
      'model.layers.0.self_attn.q_proj.weight': [32, 32],
      'model.layers.0.self_attn.k_proj.weight': [16, 32],
      'model.layers.0.self_attn.v_proj.weight': [16, 32],
      'model.layers.0.self_attn.o_proj.weight': [32, 32],
      'model.layers.0.post_attention_layernorm.weight': [32],
      'model.layers.0.mlp.gate_proj.weight': [96, 32],
      'model.layers.0.mlp.up_proj.weight': [96, 32],
      'model.layers.0.mlp.down_proj.weight': [32, 96],
      'model.norm.weight': [32],
      'lm_head.weight': [64, 32],
    })
  })

  test("may lack the prefix; buffers and a tied head are ignored, as in the hub's gpt2", async () => {
    const model = GPT.fromConfig(gpt2, { backend, seed: 8 })
    await model.save(folder)
    const bare = weightsOf(model).map(([name, tensor]) => [name.replace('transformer.', ''), tensor] as const)
    const mask = backend.zeros([1, 1, 24, 24])
    await rewrite([
      ...bare,
      ['h.0.attn.bias', mask],
      ['h.1.attn.masked_bias', backend.zeros([])],
      ['lm_head.weight', backend.zeros([64, 32])],
    ])
    expect(await numbersByName(await load())).toEqual(await numbersByName(model))
    await rewrite([...weightsOf(model), ['transformer.h.1.attn.bias', mask]])
    expect(await numbersByName(await load())).toEqual(await numbersByName(model))
  })

  test('may lack the prefix in Llama too, and may bring the rotary frequencies', async () => {
    const model = GPT.fromConfig(llama, { backend, seed: 8 })
    await model.save(folder)
    const bare = weightsOf(model).map(([name, tensor]) => [name.replace('model.', ''), tensor] as const)
    await rewrite([...bare, ['layers.0.self_attn.rotary_emb.inv_freq', backend.zeros([4])]])
    expect(await numbersByName(await load())).toEqual(await numbersByName(model))
  })
})

describe('shards', () => {
  async function shard(model: GPT, edit: (weightMap: Record<string, string>) => void = () => {}) {
    await model.save(folder)
    await rm(join(folder, 'model.safetensors'))
    const weights = weightsOf(model)
    const weightMap: Record<string, string> = {}
    for (const part of [0, 1]) {
      const file = `model-0000${part + 1}-of-00002.safetensors`
      const own = weights.filter((_, i) => i % 2 === part)
      await writeSafetensors(join(folder, file), own)
      for (const [name] of own) weightMap[name] = file
    }
    edit(weightMap)
    await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: weightMap }))
  }

  test('are read through their index', async () => {
    const model = GPT.fromConfig(llama, { backend, seed: 8 })
    await shard(model)
    expect(await numbersByName(await load())).toEqual(await numbersByName(model))
    // One whole file comes first, as in transformers: saving into the folder replaces what is loaded.
    const other = GPT.fromConfig(llama, { backend, seed: 9 })
    await other.save(folder)
    expect(await numbersByName(await load())).toEqual(await numbersByName(other))
  })

  test.each<[string, (map: Record<string, string>) => void, string]>([
    [
      'a way out of the folder',
      (map) => {
        map['model.norm.weight'] = '../x.safetensors'
      },
      'must be in a .safetensors file of the same folder, got "../x.safetensors"',
    ],
    [
      'an absolute path',
      (map) => {
        map['model.norm.weight'] = '/etc/x.safetensors'
      },
      'must be in a .safetensors file of the same folder',
    ],
    [
      'a missing shard',
      (map) => {
        map['model.norm.weight'] = 'none.safetensors'
      },
      'none.safetensors: no such file',
    ],
    [
      'a tensor in the wrong shard',
      (map) => {
        map['model.norm.weight'] = 'model-00001-of-00002.safetensors'
        map['lm_head.weight'] = 'model-00001-of-00002.safetensors'
      },
      'which',
    ],
    [
      'a lost tensor',
      (map) => {
        delete map['model.norm.weight']
      },
      "tensor 'model.norm.weight' is missing",
    ],
  ])('are refused with %s', async (_, edit, message) => {
    await shard(GPT.fromConfig(llama, { backend }), edit)
    await expect(load()).rejects.toThrow(message)
    await expect(load()).rejects.toMatchObject({ name: 'CheckpointError' })
  })
})

describe('a checkpoint that does not fit is refused, and nothing leaks:', () => {
  const replaceConfig = async (change: object) => {
    const file = join(folder, 'config.json')
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), ...change }))
  }
  const cases: readonly [string, (model: GPT) => Promise<unknown>, string][] = [
    ['missing tensor', (m) => rewrite(weightsOf(m).slice(1)), "tensor 'transformer.wte.weight' is missing"],
    ['unexpected tensor', (m) => rewrite([...weightsOf(m), ['score.weight', backend.zeros([2])]]), "unexpected tensor 'score.weight'"],
    [
      'wrong shape',
      (m) => rewrite(weightsOf(m).map(([n, t]) => [n, n.endsWith('ln_f.bias') ? backend.zeros([31]) : t])),
      "tensor 'transformer.ln_f.bias' must be [32], got [31]",
    ],
    [
      'same weight twice',
      (m) => rewrite([...weightsOf(m), ['ln_f.bias', backend.zeros([32])]]),
      "tensors 'transformer.ln_f.bias' and 'ln_f.bias' are the same weight",
    ],
    [
      'integers for weights',
      (m) => rewrite(weightsOf(m).map(([n, t]) => [n, n.endsWith('ln_f.bias') ? backend.zeros([32], 'i32') : t])),
      "tensor 'transformer.ln_f.bias' must be F32, F16 or BF16, got I32",
    ],
    ['head that is not tied', () => replaceConfig({ tie_word_embeddings: false }), "tensor 'lm_head.weight' is missing"],
    ['more layers', () => replaceConfig({ n_layer: 3 }), "tensor 'transformer.h.2.ln_1.weight' is missing"],
    ['fewer layers', () => replaceConfig({ n_layer: 1 }), "unexpected tensor 'transformer.h.1."],
    ['impossible config', () => replaceConfig({ n_head: 3 }), 'dModel must be a multiple of nHeads (3), got 32'],
    ['no config', () => rm(join(folder, 'config.json')), 'config.json: no such file'],
    ['no weights', () => rm(join(folder, 'model.safetensors')), 'model.safetensors: no such file'],
    ['config that is no JSON', () => writeFile(join(folder, 'config.json'), '{'), 'config.json: is not JSON'],
    [
      'weights that are a folder',
      async () => {
        await rm(join(folder, 'model.safetensors'))
        await mkdir(join(folder, 'model.safetensors'))
      },
      'model.safetensors: is not a file',
    ],
  ]
  test.each(cases)('%s', async (_, damage, message) => {
    const model = GPT.fromConfig(gpt2, { backend, seed: 8 })
    await model.save(folder)
    await damage(model)
    const before = backend.memory().bytes
    await expect(load()).rejects.toThrow(message)
    expect(backend.memory().bytes).toBe(before)
  })
})
