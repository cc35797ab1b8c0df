import { TokenizerError } from '../errors/tokenizer-error'
import { ByteTokenizer } from './byte-tokenizer'
import { CharTokenizer } from './char-tokenizer'
import { HuggingFaceTokenizer } from './hugging-face-tokenizer'
import type { Tokenizer } from './tokenizer'

/**
 * Reads a tokenizer.json, or the one in a folder, with the tokenizer_config.json beside it if there is one.
 * @throws TokenizerError if it is missing, not JSON or not usable.
 */
export async function loadTokenizer(path: string): Promise<Tokenizer> {
  const { stat } = await import('node:fs/promises')
  const { dirname, join } = await import('node:path')
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
  const file = isFolder ? join(path, 'tokenizer.json') : path
  const json = await readObject(file)
  if (!json) throw new TokenizerError('loadTokenizer', `${file}: no such file`)
  return tokenizerFromJSON(json, await readObject(join(dirname(file), 'tokenizer_config.json')))
}

/** The tokenizer that a tokenizer.json describes: our own classes where it is one of theirs, which are faster. */
export function tokenizerFromJSON(json: object, config: object = {}): Tokenizer {
  const bytes = new ByteTokenizer()
  if (sameJSON(json, bytes.toJSON())) return bytes
  const vocab = (json as { model?: { vocab?: unknown } }).model?.vocab
  if (typeof vocab === 'object' && vocab !== null && !Array.isArray(vocab)) {
    const characters = Object.keys(vocab)
    characters.sort((a, b) => (vocab as Record<string, number>)[a]! - (vocab as Record<string, number>)[b]!)
    if (characters.length > 0 && characters.every((c) => Array.from(c).length === 1)) {
      const chars = new CharTokenizer(characters)
      if (sameJSON(json, chars.toJSON())) return chars
    }
  }
  return new HuggingFaceTokenizer(json, config)
}

function sameJSON(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b
  const keys = Object.keys(a)
  if (Array.isArray(a) !== Array.isArray(b) || keys.length !== Object.keys(b).length) return false
  return keys.every((key) => Object.hasOwn(b, key) && sameJSON((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]))
}

async function readObject(file: string): Promise<object | undefined> {
  const { readFile } = await import('node:fs/promises')
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new TokenizerError('loadTokenizer', `${file}: cannot be read: ${(error as Error).message}`)
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new TokenizerError('loadTokenizer', `${file}: is not JSON: ${(error as Error).message}`)
  }
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json
  throw new TokenizerError('loadTokenizer', `${file}: must be a JSON object`)
}
