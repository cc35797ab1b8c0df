import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { describeFileError, isFileError, UsageError } from './errors'
import type { TextTokenizer } from './tokenizer'

/** One text file that a run learns from. */
export interface Document {
  readonly path: string
  readonly bytes: Buffer
}

/** Documents as token sequences: each document's tokens, then a separator. */
export interface Corpus {
  readonly train: Int32Array
  readonly validation: Int32Array
  readonly trainFiles: readonly string[]
  readonly validationFiles: readonly string[]
  /** Bytes of text per token of the validation part: turns nats per token into bits per byte. */
  readonly bytesPerToken: number
  /** Entropy of the validation tokens' own frequencies in nats per token: what no model that ignores context can beat. */
  readonly unigramEntropy: number
  /** Of both token sequences: a resumed run must see the same. */
  readonly sha256: string
}

/** Sequences as they enter the model: row b is tokens[b·context …], targets are one token further. */
export interface Batch {
  readonly inputs: Int32Array
  readonly targets: Int32Array
}

/** Of all bytes, in whole files; and of a file that has to give its tail. */
const VALIDATION_SHARE = 0.05
const TAIL_SHARE = 0.1

/** The declaration files of the installed `typescript`: real text that is on disk wherever this program is. */
export async function defaultDataFiles(): Promise<string[]> {
  const folder = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'lib')
  const names = await readdir(folder)
  return names
    .filter((name) => /^lib\..*d\.ts$/.test(name))
    .sort()
    .map((name) => join(folder, name))
}

/** @throws UsageError for a file that is missing, unreadable, empty or binary. */
export async function readDocuments(paths: readonly string[]): Promise<Document[]> {
  const documents: Document[] = []
  for (const path of paths) {
    const bytes = await readFile(path).catch((error: unknown) => {
      throw isFileError(error) ? new UsageError(`--data: ${describeFileError('read', path, error)}`) : error
    })
    if (bytes.length === 0) throw new UsageError(`--data: ${path} is empty; name text files`)
    const zero = bytes.indexOf(0)
    if (zero >= 0) throw new UsageError(`--data: ${path} is binary (byte 0 at offset ${zero}); name text files`)
    documents.push({ path, bytes })
  }
  return documents
}

/**
 * Packs documents into a training and a validation sequence, split by file: in an order drawn from the seed and the
 * content, files go to validation while they fit into a twentieth of all bytes. Where none fits, validation is the last
 * tenth of the longest file.
 * @throws UsageError if either sequence is shorter than one row of `context` tokens and the token after it.
 */
export function packCorpus(documents: readonly Document[], tokenizer: TextTokenizer, options: { seed: number; context: number }): Corpus {
  const { training, validation } = splitByFile(documents, options.seed)
  const train = pack(training, tokenizer)
  const held = pack(validation, tokenizer)
  for (const [part, tokens] of [
    ['training', train],
    ['validation', held],
  ] as const) {
    if (tokens.length > options.context) continue
    throw new UsageError(
      `--data: the ${part} part has ${tokens.length} tokens, fewer than one sequence of --context ${options.context} and the next token; ` +
        'give more text or a smaller --context',
    )
  }
  const bytes = validation.reduce((sum, d) => sum + d.bytes.length, 0)
  return {
    train,
    validation: held,
    trainFiles: training.map((d) => d.path),
    validationFiles: validation.map((d) => d.path),
    bytesPerToken: bytes / held.length,
    unigramEntropy: unigramEntropy(held),
    sha256: createHash('sha256').update(train).update('|').update(held).digest('hex'),
  }
}

/** Row `row` of step `step` starts at a place drawn from (seed, step, row) alone, so that any step can be drawn without those before. */
export function drawBatch(tokens: Int32Array, options: { seed: number; step: number; rows: readonly number[]; context: number }): Batch {
  const places = tokens.length - options.context
  const starts = options.rows.map((row) => {
    const hash = createHash('sha256').update(`${options.seed}/${options.step}/${row}`).digest()
    return hash.readUIntBE(0, 6) % places
  })
  return cutBatch(tokens, starts, options.context)
}

/** The rows that every validation uses: evenly spaced over the sequence, `rows` per batch. */
export function validationBatches(tokens: Int32Array, options: { batches: number; rows: number; context: number }): Batch[] {
  const last = tokens.length - options.context - 1
  const wanted = options.batches * options.rows
  const distinct = Math.min(wanted, Math.floor(last / options.context) + 1)
  const batches: Batch[] = []
  for (let first = 0; first < distinct; first += options.rows) {
    const rows = Math.min(options.rows, distinct - first)
    const starts = Array.from({ length: rows }, (_, r) => (distinct === 1 ? 0 : Math.floor(((first + r) * last) / (distinct - 1))))
    batches.push(cutBatch(tokens, starts, options.context))
  }
  return batches
}

/** −Σ p·ln p over the frequencies of the tokens, in nats per token. */
export function unigramEntropy(tokens: Int32Array): number {
  const counts = new Map<number, number>()
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1)
  let entropy = 0
  for (const count of counts.values()) entropy -= (count / tokens.length) * Math.log(count / tokens.length)
  return entropy
}

/**
 * Where documents begin among the rows of a batch, as offsets from 0 to all its tokens: at the start of each row of `context` tokens, and at each
 * separator, with which every text begins.
 */
export function documentOffsets(inputs: Int32Array, separator: number, context: number): Int32Array {
  const begins = [...inputs.keys()].filter((at) => at % context === 0 || inputs[at] === separator)
  return Int32Array.from([...begins, inputs.length])
}

/** The seed of a pass's dropout: from (seed, step, pass) alone, as drawBatch. */
export function dropoutSeed({ seed, step, pass }: { seed: number; step: number; pass: number }): number {
  return createHash('sha256').update(`dropout/${seed}/${step}/${pass}`).digest().readUIntBE(0, 6)
}

function cutBatch(tokens: Int32Array, starts: readonly number[], context: number): Batch {
  const inputs = new Int32Array(starts.length * context)
  const targets = new Int32Array(starts.length * context)
  starts.forEach((start, row) => {
    inputs.set(tokens.subarray(start, start + context), row * context)
    targets.set(tokens.subarray(start + 1, start + 1 + context), row * context)
  })
  return { inputs, targets }
}

function splitByFile(documents: readonly Document[], seed: number): { training: Document[]; validation: Document[] } {
  const drawn = documents
    .map((document) => ({ document, hash: createHash('sha256').update(`${seed}/`).update(document.bytes).digest('hex') }))
    .sort((a, b) => (a.hash < b.hash ? -1 : 1))
    .map(({ document }) => document)
  const total = drawn.reduce((sum, d) => sum + d.bytes.length, 0)
  let room = Math.floor(total * VALIDATION_SHARE)
  const validation = drawn.filter(({ bytes }) => {
    if (bytes.length > room) return false
    room -= bytes.length
    return true
  })
  if (validation.length > 0) return { training: drawn.filter((d) => !validation.includes(d)), validation }
  const longest = drawn.reduce((a, b) => (b.bytes.length > a.bytes.length ? b : a))
  const cut = characterStart(longest.bytes, Math.floor(longest.bytes.length * (1 - TAIL_SHARE)))
  const head = { path: `${longest.path} (head)`, bytes: longest.bytes.subarray(0, cut) }
  const tail = { path: `${longest.path} (tail)`, bytes: longest.bytes.subarray(cut) }
  return { training: drawn.map((d) => (d === longest ? head : d)), validation: [tail] }
}

/** The first place at or after `offset` that is not inside a UTF-8 character. */
function characterStart(bytes: Buffer, offset: number): number {
  let place = offset
  while (place < bytes.length && ((bytes[place] as number) & 0xc0) === 0x80) place++
  return place
}

function pack(documents: readonly Document[], tokenizer: TextTokenizer): Int32Array {
  const parts = documents.map((document) => tokenizer.encode(document))
  const packed = new Int32Array(parts.reduce((sum, part) => sum + part.length + 1, 0))
  let place = 0
  for (const part of parts) {
    packed.set(part, place)
    place += part.length
    packed[place++] = tokenizer.separator
  }
  return packed
}
