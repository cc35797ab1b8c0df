import type { Backend, Tensor } from '@tilegrad/tensor'
import { type GPTConfig, type GPTConfigOptions, resolveConfig } from '../config'
import { CheckpointError } from '../errors/checkpoint-error'
import type { GPT } from '../model'
import type { Tokenizer } from '../tokenizers/tokenizer'
import { fromHuggingFace, toHuggingFace } from './hf-config'
import { readSafetensors, type TensorSource, writeSafetensors } from './safetensors'
import { readSharded } from './sharded'
import { loadWeights } from './weights'
import { writeFileAtomic } from './write-file-atomic'

/** Where the model runs, and how: what config.json does not say. */
export interface FromPretrainedOptions extends Pick<GPTConfigOptions, 'attentionImpl' | 'activationCheckpointing' | 'attentionPattern'> {
  readonly backend: Backend
}

export interface SaveOptions {
  /** Type that the weights are stored in. Default `'f32'`. */
  readonly dtype?: 'f32' | 'f16' | 'bf16'
  /** Also write its tokenizer.json and tokenizer_config.json. */
  readonly tokenizer?: Tokenizer
}

/** Reads config.json and the weights of a checkpoint folder. */
export async function loadPretrained(
  folder: string,
  { backend, ...overrides }: FromPretrainedOptions,
): Promise<{ config: GPTConfig; weights: Map<string, Tensor> }> {
  const { join } = await import('node:path')
  const configFile = join(folder, 'config.json')
  const json = await readJson(configFile)
  if (json === undefined)
    throw new CheckpointError(configFile, 'no such file: a checkpoint is a folder with config.json and model.safetensors')
  const config = resolveConfig({ ...fromHuggingFace(configFile, json), ...overrides })
  const { file, source } = await openWeights(folder)
  try {
    return { config, weights: await loadWeights(file, source, config, backend) }
  } finally {
    await source.close()
  }
}

async function openWeights(folder: string): Promise<{ file: string; source: TensorSource }> {
  const { join } = await import('node:path')
  const { existsSync } = await import('node:fs')
  const file = join(folder, 'model.safetensors')
  const indexFile = `${file}.index.json`
  // As in transformers, one whole file comes before shards.
  const index = existsSync(file) ? undefined : await readJson(indexFile)
  if (index !== undefined) return { file: indexFile, source: await readSharded(folder, indexFile, index) }
  return { file, source: await readSafetensors(file) }
}

/** Creates `folder` if need be and writes the checkpoint into it; the weights last, so that a new folder is complete when they are there. */
export async function savePretrained(model: GPT, folder: string, { dtype = 'f32', tokenizer }: SaveOptions = {}): Promise<void> {
  const { join } = await import('node:path')
  const { mkdir } = await import('node:fs/promises')
  await mkdir(folder, { recursive: true })
  await writeFileAtomic(join(folder, 'config.json'), `${JSON.stringify(toHuggingFace(model.config, dtype), null, 2)}\n`)
  if (tokenizer) {
    // Without a class of its own, transformers would take the one that goes with the architecture.
    const { config = { tokenizer_class: 'PreTrainedTokenizerFast', clean_up_tokenization_spaces: false } } = tokenizer
    await writeFileAtomic(join(folder, 'tokenizer.json'), `${JSON.stringify(tokenizer)}\n`)
    await writeFileAtomic(join(folder, 'tokenizer_config.json'), `${JSON.stringify(config, null, 2)}\n`)
  }
  const tensors = Array.from(model.parameters(), ([name, { value }]) => [name, value] as const)
  // transformers refuses files that do not say which framework's layout they have.
  await writeSafetensors(join(folder, 'model.safetensors'), tensors, { dtype, metadata: { format: 'pt' } })
}

/** Contents of a JSON file; undefined if there is none. */
async function readJson(path: string): Promise<unknown> {
  const { readFile } = await import('node:fs/promises')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new CheckpointError(path, `cannot be read: ${(error as Error).message}`)
  }
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new CheckpointError(path, `is not JSON: ${(error as Error).message}`)
  }
}
