import { z } from 'zod'
import { UsageError } from './errors'
import { PATTERN_SYNTAX, parsePatterns } from './pattern'

/**
 * One option: its type, default, range and help. `trainFlags` and `sampleFlags` are the only place where options are
 * described; the command line, its help, the config file and `run.json` all follow from them.
 */
export interface Flag<T = unknown> {
  readonly schema: z.ZodType<T>
  /** What a value must be, for messages: `an integer ≥ 1`. */
  readonly expected: string
  readonly kind: 'number' | 'text' | 'list' | 'toggle'
  /** Placeholder of the value in the help. */
  readonly argument: string
  readonly group: string
  readonly description: string
}

type About = readonly [group: string, argument: string, description: string]

function numeric<S extends z.ZodType>(kind: 'an integer' | 'a number', wrap: (s: z.ZodNumber) => S, range: Range, about: About) {
  const [low, high] = [range.min ?? range.above, range.max ?? range.below]
  let schema = kind === 'an integer' ? z.number().int() : z.number()
  if (range.min !== undefined) schema = schema.min(range.min)
  if (range.above !== undefined) schema = schema.gt(range.above)
  if (range.max !== undefined) schema = schema.max(range.max)
  if (range.below !== undefined) schema = schema.lt(range.below)
  const bounds = [
    ...(low === undefined ? [] : [`${range.above === undefined ? '≥' : '>'} ${low}`]),
    ...(high === undefined ? [] : [`${range.below === undefined ? '≤' : '<'} ${high}`]),
  ].join(' and ')
  return flag(wrap(schema), `${kind} ${bounds}`, 'number', about)
}

interface Range {
  readonly min?: number
  readonly above?: number
  readonly max?: number
  readonly below?: number
}

function flag<S extends z.ZodType>(schema: S, expected: string, kind: Flag['kind'], [group, argument, description]: About) {
  return { schema, expected, kind, argument, group, description }
}

const choice = <const C extends readonly [string, ...string[]]>(choices: C, fallback: C[number], [group, description]: [string, string]) =>
  flag(z.enum(choices).default(fallback as never), `one of ${choices.join(', ')}`, 'text', [group, choices.join('|'), description])

const toggle = (group: string, description: string) => flag(z.boolean().default(false), 'true or false', 'toggle', [group, '', description])
const text = (about: About) => flag(z.string().min(1).optional(), 'a non-empty text', 'text', about)

const DATA = 'Data:'
const MODEL = 'Model:'
const MACHINE = 'Machine:'
const TRAINING = 'Training:'
const REPORTING = 'Validation, samples and checkpoints:'
const RUN = 'Run:'

export const trainFlags = {
  data: flag(z.array(z.string().min(1)).min(1).optional(), 'a list of file names', 'list', [
    DATA,
    'files...',
    'text files to learn from (default: the declaration files lib*.d.ts that come with TypeScript, a few MB)',
  ]),
  tokenizer: flag(z.string().min(1).default('byte'), 'byte, char or the path of a tokenizer.json', 'text', [
    DATA,
    'byte|char|path',
    'how text becomes tokens; a path names a Hugging Face tokenizer.json',
  ]),
  context: numeric('an integer', (s) => s.default(2048), { min: 1 }, [DATA, 'tokens', 'length of the sequences that are trained on']),

  arch: choice(['gpt2', 'llama'], 'llama', [MODEL, 'GPT-2 (learned positions, LayerNorm, GELU) or Llama (RoPE, RMSNorm, SwiGLU)']),
  layers: numeric('an integer', (s) => s.default(4), { min: 1 }, [MODEL, 'n', 'number of blocks']),
  width: numeric('an integer', (s) => s.default(128), { min: 1 }, [MODEL, 'n', 'd_model, the size of the residual stream']),
  heads: numeric('an integer', (s) => s.default(2), { min: 1 }, [MODEL, 'n', 'attention heads; their dimension is width / heads']),
  kvHeads: numeric('an integer', (s) => s.optional(), { min: 1 }, [
    MODEL,
    'n',
    'key and value heads of llama, a divisor of --heads (default: --heads)',
  ]),
  pattern: flag(z.string().default('dense'), PATTERN_SYNTAX, 'text', [
    MODEL,
    'pattern',
    'which earlier tokens each layer sees, such as window:size=256 or local-global:window=256,global-tokens=16/dense (layers take turns)',
  ]),
  positions: flag(z.enum(['learned', 'rotary', 'alibi']).optional(), 'one of learned, rotary, alibi', 'text', [
    MODEL,
    'learned|rotary|alibi',
    "how positions enter: gpt2's learned ones, llama's rotary ones, or a bias of attention in either (default: the architecture's)",
  ]),
  sink: toggle(MODEL, 'each head learns an attention sink, a score that belongs to no token'),
  documents: choice(['joined', 'separate'], 'joined', [
    MODEL,
    'whether attention crosses from one text into the next where a sequence holds several',
  ]),

  steps: numeric('an integer', (s) => s.optional(), { min: 1 }, [
    TRAINING,
    'n',
    'optimizer steps, which the learning rate follows (default: as many as fit into --minutes, planned after the warmup)',
  ]),
  minutes: numeric('a number', (s) => s.optional(), { above: 0 }, [
    TRAINING,
    'm',
    'stop and save after this time (default: 5, or no limit with --steps)',
  ]),
  batch: numeric('an integer', (s) => s.default(1), { min: 1 }, [TRAINING, 'n', 'sequences per forward and backward pass']),
  accumulate: numeric('an integer', (s) => s.default(1), { min: 1 }, [TRAINING, 'n', 'passes whose gradients make one step']),
  lr: numeric('a number', (s) => s.default(3e-3), { above: 0 }, [TRAINING, 'rate', 'peak learning rate of AdamW']),
  minLr: numeric('a number', (s) => s.optional(), { min: 0 }, [
    TRAINING,
    'rate',
    'learning rate at the last step (default: a tenth of --lr)',
  ]),
  warmup: numeric('an integer', (s) => s.optional(), { min: 0 }, [
    TRAINING,
    'steps',
    'steps over which the learning rate rises from 0 (default: 20, or a tenth of --steps if less)',
  ]),
  weightDecay: numeric('a number', (s) => s.default(0.1), { min: 0 }, [TRAINING, 'w', 'decoupled decay of weights with two or more axes']),
  attentionDropout: numeric('a number', (s) => s.default(0), { min: 0, below: 1 }, [
    TRAINING,
    'p',
    'chance that an attention probability is dropped in training',
  ]),
  clip: numeric('a number', (s) => s.default(1), { above: 0 }, [TRAINING, 'norm', 'largest global norm of the gradient']),
  seed: numeric('an integer', (s) => s.default(1), { min: 0, max: 2 ** 32 - 1 }, [
    TRAINING,
    'n',
    'of the weights, the data order and the split',
  ]),

  valEvery: numeric('an integer', (s) => s.default(100), { min: 1 }, [REPORTING, 'steps', 'steps between validations']),
  valBatches: numeric('an integer', (s) => s.default(8), { min: 1 }, [REPORTING, 'n', 'batches per validation']),
  sampleEvery: numeric('an integer', (s) => s.default(300), { min: 1 }, [REPORTING, 'steps', 'steps between samples of text']),
  saveEvery: numeric('an integer', (s) => s.default(100), { min: 1 }, [
    REPORTING,
    'steps',
    'steps between checkpoints; the last two are kept',
  ]),

  attention: choice(['flash', 'standard'], 'flash', [
    MACHINE,
    'tiled attention in linear memory, or the whole matrix of scores for comparison',
  ]),
  checkpointActivations: toggle(MACHINE, 'keep only the input of each block and compute the rest again in the backward pass'),
  backend: choice(['cpu', 'webgpu'], 'cpu', [MACHINE, 'what computes: the processor, or a GPU through WebGPU (npm install webgpu)']),
  runtime: choice(['auto', 'native', 'wasm'], 'auto', [MACHINE, 'of the cpu backend: native addon, WebAssembly, or the first that works']),
  threads: numeric('an integer', (s) => s.optional(), { min: 1 }, [MACHINE, 'n', 'threads of the cpu backend (default: one per core)']),

  out: text([RUN, 'folder', 'folder for config, metrics, checkpoints and report, new or empty (default: runs/<date>-<time>)']),
} as const

export const sampleFlags = {
  prompt: flag(z.string().min(1).optional(), 'a non-empty text', 'text', [
    'Text:',
    'text',
    'beginning of the text (default: the start of a document)',
  ]),
  tokens: numeric('an integer', (s) => s.default(400), { min: 1 }, ['Text:', 'n', 'tokens to write']),
  temperature: numeric('a number', (s) => s.default(0.8), { min: 0 }, ['Text:', 't', 'divides the logits; 0 takes the likeliest token']),
  topK: numeric('an integer', (s) => s.optional(), { min: 1 }, ['Text:', 'k', 'draw from the k likeliest tokens (default: all)']),
  topP: numeric('a number', (s) => s.optional(), { above: 0, max: 1 }, [
    'Text:',
    'p',
    'draw from the likeliest tokens that together have probability p',
  ]),
  seed: numeric('an integer', (s) => s.default(1), { min: 0, max: 2 ** 32 - 1 }, ['Text:', 'n', 'of the draws']),
  backend: trainFlags.backend,
  runtime: trainFlags.runtime,
  threads: trainFlags.threads,
} as const

type Flags = Readonly<Record<string, Flag>>
type Values<F extends Flags> = { [K in keyof F]: z.output<F[K]['schema']> }

export type TrainOptions = Values<typeof trainFlags>
export type SampleOptions = Values<typeof sampleFlags>

/** Where a raw value came from, for messages. */
export type Source = 'flag' | { readonly file: string }

/** `valEvery` → `val-every`: the name of an option on the command line and in a config file. */
export function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
}

function keyOf(flags: Flags, name: string): string | undefined {
  return Object.keys(flags).find((key) => flagName(key) === name)
}

/** The default of an option, or undefined. */
export function defaultOf(flag: Flag): unknown {
  const result = flag.schema.safeParse(undefined)
  return result.success ? result.data : undefined
}

/** A command line's text as a config file would hold it. */
export function fromText(flag: Flag, value: string): unknown {
  const number = Number(value)
  return flag.kind === 'number' && value.trim() !== '' && !Number.isNaN(number) ? number : value
}

/** Checks single values. Absent options stay absent. @throws UsageError naming the option. */
export function checkValues(flags: Flags, raw: Readonly<Record<string, unknown>>, source: Source): Record<string, unknown> {
  const checked: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(raw)) {
    const flag = flags[key] as Flag
    const result = flag.schema.safeParse(value)
    if (!result.success || value === undefined) throw wrongValue(key, flag.expected, value, source)
    checked[key] = value
  }
  return checked
}

/** Reads the object of a config file, whose keys are the names of the flags. @throws UsageError */
export function checkConfig(flags: Flags, config: unknown, file: string): Record<string, unknown> {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new UsageError(`${file}: expected an object such as {"context": 2048}, got ${JSON.stringify(config)}`)
  }
  const raw: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(config)) {
    const key = keyOf(flags, name)
    if (!key) throw new UsageError(`${file}: unknown option ${JSON.stringify(name)}; its keys are the flags of train-gpt train --help`)
    raw[key] = value
  }
  return checkValues(flags, raw, { file })
}

/** Fills in defaults and checks what options mean together. @throws UsageError */
export function completeTrainOptions(given: Readonly<Record<string, unknown>>): TrainOptions {
  const options = z.object(schemas(trainFlags)).parse(given) as TrainOptions
  const problem = combinationProblem(options)
  if (problem) throw new UsageError(problem)
  return options
}

export function completeSampleOptions(given: Readonly<Record<string, unknown>>): SampleOptions {
  return z.object(schemas(sampleFlags)).parse(given) as SampleOptions
}

/** The object that a config file would hold for these options. */
export function toConfig(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries.map(([key, value]) => [flagName(key), value]))
}

function combinationProblem(o: TrainOptions): string | undefined {
  const headDim = o.width / o.heads
  if (!Number.isInteger(headDim)) return `--width must be a multiple of --heads, got ${o.width} and ${o.heads}`
  if (headDim > 256) return `--width / --heads must be at most 256, got ${headDim}: use at least ${Math.ceil(o.width / 256)} heads`
  if (o.arch === 'llama' && headDim % 2 !== 0) return `--width / --heads must be even for llama's rotary positions, got ${headDim}`
  if (o.arch === 'gpt2' && o.kvHeads !== undefined && o.kvHeads !== o.heads)
    return '--kv-heads: gpt2 has as many as --heads; use --arch llama'
  if (o.kvHeads !== undefined && o.heads % o.kvHeads !== 0) return `--kv-heads must divide --heads, got ${o.kvHeads} and ${o.heads}`
  const attention = attentionProblem(o)
  if (attention) return attention
  if (o.minLr !== undefined && o.minLr > o.lr) return `--min-lr must be at most --lr, got ${o.minLr} and ${o.lr}`
  if (o.steps !== undefined && o.warmup !== undefined && o.warmup >= o.steps)
    return `--warmup must be less than --steps, got ${o.warmup} and ${o.steps}`
  return undefined
}

function attentionProblem(o: TrainOptions): string | undefined {
  try {
    const patterns = parsePatterns(o.pattern)
    if (patterns.length > o.layers) return `--pattern must have at most --layers (${o.layers}) parts, got ${patterns.length}`
  } catch (error) {
    return `--pattern: ${(error as Error).message}`
  }
  const own = o.arch === 'gpt2' ? 'learned' : 'rotary'
  if (o.positions !== undefined && o.positions !== own && o.positions !== 'alibi')
    return `--positions of ${o.arch} must be ${own} or alibi, got ${o.positions}`
  if (o.attention === 'flash') return undefined
  if (o.pattern !== 'dense') return '--pattern needs --attention flash'
  if (o.positions === 'alibi') return '--positions alibi needs --attention flash'
  if (o.sink) return '--sink needs --attention flash'
  if (o.documents === 'separate') return '--documents separate needs --attention flash'
  if (o.attentionDropout > 0) return '--attention-dropout needs --attention flash'
  return undefined
}

function schemas(flags: Flags): Record<string, z.ZodType> {
  return Object.fromEntries(Object.entries(flags).map(([key, flag]) => [key, flag.schema]))
}

function wrongValue(key: string, expected: string, value: unknown, source: Source): UsageError {
  const where = source === 'flag' ? `--${flagName(key)}` : `${source.file}: ${flagName(key)}`
  return new UsageError(`${where}: expected ${expected}, got ${JSON.stringify(value) ?? value}`)
}
