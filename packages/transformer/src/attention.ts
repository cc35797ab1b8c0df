import type { Tape, Variable } from '@tilegrad/autograd'
import { PhiloxStream } from '@tilegrad/core-math'
import { ArgumentError, type AttentionOptions, type Backend, type BlockMask, type Tensor } from '@tilegrad/tensor'
import { alibiSlopes } from './alibi'
import { type MaskPattern, patternMask } from './attention-mask'
import type { AttentionPattern } from './attention-pattern'
import type { GPTConfig } from './config'
import type { KVCache } from './kv-cache'
import { standardAttention } from './standard-attention'

/** What one pass through the model has besides its tokens. */
export interface Pass {
  readonly cache?: KVCache
  /** Where the documents begin and end that are packed into the B·T rows. */
  readonly cuSeqlens?: Int32Array
  readonly dropoutSeed?: number
}

/** Causal attention as the config of a model has it, layer by layer: patterns, positions, sinks and dropout. */
export class CausalAttention {
  private readonly slopes: Tensor | undefined
  /** The latest mask of each pattern: training asks for the same one again and again. */
  private readonly masks = new Map<AttentionPattern, { readonly key: string; readonly mask: BlockMask }>()

  constructor(
    private readonly config: GPTConfig,
    backend: Backend,
  ) {
    const { positions, nHeads } = config
    this.slopes = positions === 'alibi' ? backend.keep(backend.tensor(alibiSlopes(nHeads), [nHeads])) : undefined
  }

  /** q [B, T, H, D] over k, v [B, T, Hk, D] and the positions cached before them → [B, T, H·D]. */
  apply(tape: Tape, q: Variable, k: Variable, v: Variable, layer: number, pass: Pass, sink?: Variable): Variable {
    const { attentionImpl, nHeads, headDim } = this.config
    const [batchSize, seqlenQ] = q.shape as [number, number]
    const cached = pass.cache?.append(layer, k.value, v.value)
    const keys = cached ? tape.constant(cached.k) : k
    const values = cached ? tape.constant(cached.v) : v
    const shape = [batchSize, seqlenQ, nHeads * headDim]
    if (attentionImpl === 'standard') {
      this.refuseInStandard(pass)
      return tape.reshape(tape.copy(standardAttention(tape, q, keys, values)), shape)
    }
    const options = { ...this.options(layer, seqlenQ, keys.shape[1] as number, pass), ...(sink && { sink }) }
    if (pass.cuSeqlens === undefined) return tape.reshape(tape.attention(q, keys, values, options), shape)
    const packed = (x: Variable) => tape.reshape(x, [batchSize * seqlenQ, x.shape[2] as number, headDim])
    const cuSeqlens = { cuSeqlensQ: pass.cuSeqlens, cuSeqlensK: pass.cuSeqlens }
    return tape.reshape(tape.attention(packed(q), packed(keys), packed(values), { ...options, ...cuSeqlens }), shape)
  }

  /** Standard attention is there to compare with, and takes neither. */
  private refuseInStandard({ cuSeqlens, dropoutSeed }: Pass): void {
    const name = cuSeqlens ? 'cuSeqlens' : dropoutSeed !== undefined && this.config.attentionDropout > 0 ? 'dropoutSeed' : undefined
    if (name) throw new ArgumentError('GPT', `${name} must be left out with attentionImpl 'standard'`, 'one')
  }

  dispose(): void {
    this.slopes?.dispose()
  }

  private options(layer: number, seqlenQ: number, seqlenK: number, { dropoutSeed }: Pass): AttentionOptions {
    const { attentionPattern, attentionDropout } = this.config
    const pattern = attentionPattern[layer % attentionPattern.length] as AttentionPattern
    return {
      causal: true,
      ...(pattern.type === 'window' && { windowSize: [pattern.size - 1, -1] as const }),
      ...(pattern.type !== 'window' && pattern.type !== 'dense' && { blockMask: this.mask(pattern, seqlenQ, seqlenK) }),
      ...(this.slopes && { alibiSlopes: this.slopes }),
      ...(attentionDropout > 0 && dropoutSeed !== undefined && { dropoutP: attentionDropout, seed: layerSeed(dropoutSeed, layer) }),
    }
  }

  private mask(pattern: MaskPattern, seqlenQ: number, seqlenK: number): BlockMask {
    const key = `${seqlenQ} ${seqlenK}`
    const known = this.masks.get(pattern)
    if (known?.key === key) return known.mask
    const mask = patternMask(pattern, { seqlenQ, seqlenK, contextLength: this.config.contextLength })
    this.masks.set(pattern, { key, mask })
    return mask
  }
}

/** Layers draw independent masks from one seed. */
function layerSeed(seed: number, layer: number): number {
  const random = new PhiloxStream(seed, layer)
  return (random.nextWord() >>> 11) * 2 ** 32 + random.nextWord()
}

/**
 * Checks that documents tile the rows of tokens [B, T]: offsets ascend from 0 to B·T, and no document crosses from one row into the next.
 * @throws ArgumentError in the name of `fn`.
 */
export function checkDocuments(fn: string, cuSeqlens: Int32Array, batchSize: number, seqlen: number): void {
  const total = batchSize * seqlen
  const refuse = (expected: string, got: string) => new ArgumentError(fn, `cuSeqlens must ${expected}`, got)
  if (!(cuSeqlens instanceof Int32Array)) throw refuse('be an Int32Array', typeof cuSeqlens)
  if (cuSeqlens[0] !== 0 || cuSeqlens.at(-1) !== total) throw refuse(`go from 0 to ${total}`, `${cuSeqlens[0]} to ${cuSeqlens.at(-1)}`)
  for (let i = 1; i < cuSeqlens.length; i++) {
    const [begin, end] = [cuSeqlens[i - 1] as number, cuSeqlens[i] as number]
    if (end < begin) throw refuse('ascend', `${begin} before ${end}`)
    if (end > (Math.floor(begin / seqlen) + 1) * seqlen) throw refuse(`hold every multiple of ${seqlen}`, `${begin} before ${end}`)
  }
}

/** Position of every row within its document. */
export function documentPositions(cuSeqlens: Int32Array): Int32Array {
  const positions = new Int32Array(cuSeqlens.at(-1) as number)
  for (let b = 1; b < cuSeqlens.length; b++) {
    for (let i = cuSeqlens[b - 1] as number; i < (cuSeqlens[b] as number); i++) positions[i] = i - (cuSeqlens[b - 1] as number)
  }
  return positions
}
