import { ArgumentError } from '@tilegrad/tensor'
import { type AttentionPattern, checkPattern } from './attention-pattern'

/** Llama 3.1's rescaling of the rotary frequencies for contexts longer than the pre-training's (`rope_scaling` in config.json). */
export interface Llama3RopeScaling {
  readonly factor: number
  readonly lowFreqFactor: number
  readonly highFreqFactor: number
  /** Context length of the pre-training, in tokens. */
  readonly originalContextLength: number
}

/** What a user states about a model; the rest takes its architecture's defaults. */
export interface GPTConfigOptions {
  /** `'gpt2'`: learned positions, layerNorm, gelu. `'llama'`: rotary positions, rmsNorm, SwiGLU, grouped keys. Default `'gpt2'`. */
  readonly architecture?: 'gpt2' | 'llama'
  readonly vocabSize: number
  /** Largest number of positions. */
  readonly contextLength: number
  readonly nLayers: number
  readonly nHeads: number
  /** Width of the residual stream. */
  readonly dModel: number
  /** Key and value heads; divides nHeads. Default nHeads; always nHeads in GPT-2. */
  readonly nHeadsK?: number
  /** Default dModel / nHeads; always that in GPT-2. */
  readonly headDim?: number
  /** Width of the feed-forward layer. Default 4·dModel (GPT-2), or 8/3·dModel rounded up to a multiple of 32 (Llama). */
  readonly intermediateSize?: number
  /** ε of the norms. Default 1e-5. */
  readonly normEps?: number
  /** Base of the rotary frequencies. Default 10000. */
  readonly ropeTheta?: number
  readonly ropeScaling?: Llama3RopeScaling
  /** Whether the output head is the token embedding. Default true (GPT-2), false (Llama). */
  readonly tieEmbeddings?: boolean
  /**
   * How a token's position enters: `'learned'` embeddings (GPT-2's), `'rotary'` (Llama's), or `'alibi'`, which only biases attention
   * (arXiv 2108.12409) and has no parameters. Default: the architecture's own.
   */
  readonly positions?: 'learned' | 'rotary' | 'alibi'
  /** Which earlier tokens attention sees: one pattern for all layers, or a list that the layers take in turn. Default dense. */
  readonly attentionPattern?: AttentionPattern | readonly AttentionPattern[]
  /** Whether each head learns an attention sink, a score that belongs to no token (arXiv 2309.17453). Default false. */
  readonly attentionSink?: boolean
  /** Chance that an attention probability is dropped in passes with a `dropoutSeed`, in [0, 1). Default 0. */
  readonly attentionDropout?: number
  /** `'flash'` works in tiles; `'standard'` holds the whole Sq × Sk matrix, to compare with. Default `'flash'`. */
  readonly attentionImpl?: 'flash' | 'standard'
  /** Recompute each block in the backward pass instead of keeping its activations. Default false. */
  readonly activationCheckpointing?: boolean
  /** Ids of the tokens that begin and end a text, if the tokenizer has them; `generate` stops at the end token. Default null. */
  readonly bosTokenId?: number | null
  readonly eosTokenId?: number | readonly number[] | null
}

/** A complete, checked configuration: what `resolveConfig` returns. */
export type GPTConfig = Required<Omit<GPTConfigOptions, 'ropeScaling' | 'attentionPattern'>> & {
  readonly ropeScaling: Llama3RopeScaling | null
  /** Layer l has pattern l mod its length. */
  readonly attentionPattern: readonly AttentionPattern[]
}

const fields: ReadonlySet<string> = new Set<keyof GPTConfigOptions>([
  'architecture',
  'vocabSize',
  'contextLength',
  'nLayers',
  'nHeads',
  'dModel',
  'nHeadsK',
  'headDim',
  'intermediateSize',
  'normEps',
  'ropeTheta',
  'ropeScaling',
  'tieEmbeddings',
  'positions',
  'attentionPattern',
  'attentionSink',
  'attentionDropout',
  'attentionImpl',
  'activationCheckpointing',
  'bosTokenId',
  'eosTokenId',
])

/**
 * Fills in defaults and checks every field.
 * @throws ArgumentError naming the field.
 */
export function resolveConfig(options: GPTConfigOptions): GPTConfig {
  const unknown = Object.keys(options).find((field) => !fields.has(field))
  if (unknown !== undefined) throw new ArgumentError('GPTConfig', 'fields must be those of GPTConfigOptions', `'${unknown}'`)
  const { architecture = 'gpt2' } = options
  if (architecture !== 'gpt2' && architecture !== 'llama') refuse('architecture', "be 'gpt2' or 'llama'", architecture)
  const gpt2 = architecture === 'gpt2'
  for (const field of ['vocabSize', 'contextLength', 'nLayers', 'nHeads', 'dModel'] as const) positiveInteger(field, options[field])
  const { dModel, nHeads } = options
  if (options.headDim === undefined && dModel % nHeads !== 0) refuse('dModel', `be a multiple of nHeads (${nHeads})`, dModel)

  const config: GPTConfig = {
    architecture,
    vocabSize: options.vocabSize,
    contextLength: options.contextLength,
    nLayers: options.nLayers,
    nHeads,
    nHeadsK: options.nHeadsK ?? nHeads,
    headDim: options.headDim ?? dModel / nHeads,
    dModel,
    intermediateSize: options.intermediateSize ?? (gpt2 ? 4 * dModel : 32 * Math.ceil((8 * dModel) / 3 / 32)),
    normEps: options.normEps ?? 1e-5,
    ropeTheta: options.ropeTheta ?? 10000,
    ropeScaling: options.ropeScaling ?? null,
    tieEmbeddings: options.tieEmbeddings ?? gpt2,
    positions: options.positions ?? (gpt2 ? 'learned' : 'rotary'),
    attentionPattern: [options.attentionPattern ?? { type: 'dense' as const }].flat(),
    attentionSink: options.attentionSink ?? false,
    attentionDropout: options.attentionDropout ?? 0,
    attentionImpl: options.attentionImpl ?? 'flash',
    activationCheckpointing: options.activationCheckpointing ?? false,
    bosTokenId: options.bosTokenId ?? null,
    eosTokenId: options.eosTokenId ?? null,
  }
  checkHeads(config)
  checkNumbers(config)
  checkChoices(config)
  checkAttention(config)
  return config
}

function checkHeads({ architecture, nHeads, nHeadsK, headDim, dModel }: GPTConfig): void {
  positiveInteger('nHeadsK', nHeadsK)
  positiveInteger('headDim', headDim)
  if (nHeads % nHeadsK !== 0) refuse('nHeadsK', `divide nHeads (${nHeads})`, nHeadsK)
  if (headDim > 256) refuse('headDim', 'be at most 256', headDim)
  if (architecture === 'llama') {
    if (headDim % 2 !== 0) refuse('headDim', 'be even (rotary pairs)', headDim)
    return
  }
  if (nHeadsK !== nHeads) refuse('nHeadsK', `equal nHeads (${nHeads}) in GPT-2`, nHeadsK)
  if (headDim * nHeads !== dModel) refuse('headDim', `be dModel / nHeads (${dModel / nHeads}) in GPT-2`, headDim)
}

function checkNumbers(config: GPTConfig): void {
  positiveInteger('intermediateSize', config.intermediateSize)
  positive('normEps', config.normEps)
  positive('ropeTheta', config.ropeTheta)
  if (config.ropeScaling) {
    const { factor, lowFreqFactor, highFreqFactor, originalContextLength } = config.ropeScaling
    positive('ropeScaling.factor', factor)
    positive('ropeScaling.lowFreqFactor', lowFreqFactor)
    positive('ropeScaling.highFreqFactor', highFreqFactor)
    positiveInteger('ropeScaling.originalContextLength', originalContextLength)
    if (highFreqFactor <= lowFreqFactor) refuse('ropeScaling.highFreqFactor', `be above lowFreqFactor (${lowFreqFactor})`, highFreqFactor)
  }
  const { bosTokenId, eosTokenId } = config
  if (bosTokenId !== null) tokenId('bosTokenId', bosTokenId, config.vocabSize)
  if (eosTokenId !== null) for (const id of [eosTokenId].flat()) tokenId('eosTokenId', id as number, config.vocabSize)
}

function checkChoices(config: GPTConfig): void {
  for (const field of ['tieEmbeddings', 'activationCheckpointing'] as const) {
    if (typeof config[field] !== 'boolean') refuse(field, 'be true or false', config[field])
  }
  const { attentionImpl } = config
  if (attentionImpl !== 'flash' && attentionImpl !== 'standard') refuse('attentionImpl', "be 'flash' or 'standard'", attentionImpl)
}

function checkAttention(config: GPTConfig): void {
  const { architecture, positions, attentionPattern, attentionSink, attentionDropout, attentionImpl, nLayers } = config
  const own = architecture === 'gpt2' ? 'learned' : 'rotary'
  if (positions !== own && positions !== 'alibi') refuse('positions', `be '${own}' or 'alibi' in ${architecture}`, positions)
  if (attentionPattern.length < 1 || attentionPattern.length > nLayers) {
    refuse('attentionPattern', `be one pattern or a list of 1 to nLayers (${nLayers})`, attentionPattern.length)
  }
  for (const pattern of attentionPattern) checkPattern(pattern)
  if (typeof attentionSink !== 'boolean') refuse('attentionSink', 'be true or false', attentionSink)
  if (!(attentionDropout >= 0 && attentionDropout < 1)) refuse('attentionDropout', 'be in [0, 1)', attentionDropout)
  if (attentionImpl === 'flash') return
  const other = attentionPattern.find(({ type }) => type !== 'dense')
  if (other) refuse('attentionPattern', "be dense with attentionImpl 'standard'", other)
  if (positions === 'alibi') refuse('positions', `be '${own}' with attentionImpl 'standard'`, positions)
  if (attentionSink) refuse('attentionSink', "be false with attentionImpl 'standard'", attentionSink)
}

function tokenId(field: string, id: number, vocabSize: number): void {
  if (!Number.isInteger(id) || id < 0 || id >= vocabSize) refuse(field, `be null or an integer in 0..${vocabSize - 1}`, id)
}

function positiveInteger(field: string, value: unknown): void {
  if (!Number.isSafeInteger(value) || (value as number) < 1) refuse(field, 'be a positive integer', value)
}

function positive(field: string, value: number): void {
  if (!Number.isFinite(value) || value <= 0) refuse(field, 'be a finite number above 0', value)
}

function refuse(field: string, expected: string, got: unknown): never {
  throw new ArgumentError('GPTConfig', `${field} must ${expected}`, typeof got === 'number' ? String(got) : JSON.stringify(got))
}
