import type { AttentionOptions, Backend, Tensor } from '@tilegrad/tensor'
import { randomGumbel } from '../random'

export interface KeyformerOptions {
  readonly nHeads: number
  readonly headDim: number
  /** Tokens whose keys and values are kept between steps, k. */
  readonly cacheSize: number
  /** How many of them are the latest, w < k: the paper finds 20 to 30 % of the cache best. */
  readonly recentWindow: number
  /** Steps over which the temperature rises from 1 to 2, the values that its authors use. */
  readonly generatedTokens: number
  readonly seed: number
}

/** What one head keeps: slots of the cache are in no order, since attention of one query does not depend on it. */
interface Head {
  /** Accumulated score of the token in each slot, f. */
  readonly scores: Float64Array
  /** Position of the token in each slot. */
  readonly positions: Int32Array
  /** The slot that the next token takes. */
  free: number
}

const [initialTemperature, lastTemperature] = [1, 2]

/**
 * Keyformer (Adnan et al., arXiv 2403.09054): decoding with a cache of k tokens for each head, the w latest and those others whose accumulated
 * score is highest. The score that a query adds to a key is its probability after Gumbel noise on the logit and a temperature, softmax((x + ζ)/τ).
 * Here softmaxScale/τ and a bias of ζ/τ make it, so that scores come out of exact attention in tiles:
 * `attentionColumnSums` over the prompt, `attentionRows` in each step.
 *
 * One sequence, a key head for each query head. All queries of the prompt share one draw of ζ for each key, where the algorithm's would need one for each pair;
 * steps draw anew.
 */
export class KeyformerCache {
  private readonly k: Tensor
  private readonly v: Tensor
  private readonly heads: Head[]
  private readonly noise: Tensor
  private step = 0
  private position = 0

  constructor(
    private readonly backend: Backend,
    private readonly options: KeyformerOptions,
  ) {
    const { nHeads, headDim, cacheSize, recentWindow, seed } = options
    if (!(recentWindow >= 1 && recentWindow < cacheSize)) throw new Error('keyformer: expected 1 ≤ recentWindow < cacheSize')
    const slots = cacheSize + 1
    this.k = backend.zeros([1, slots, nHeads, headDim])
    this.v = backend.zeros([1, slots, nHeads, headDim])
    this.heads = Array.from({ length: nHeads }, () => ({
      scores: new Float64Array(slots),
      positions: new Int32Array(slots),
      free: cacheSize,
    }))
    // Steps read it from changing places: drawing as much for each would take longer than attention.
    this.noise = backend.tensor(randomGumbel(2 * nHeads * slots, seed), [2 * nHeads * slots])
  }

  /** Causal attention of the prompt, q, k and v [1, S, H, D] with S ≥ cacheSize; then keeps the tokens that score highest. */
  async prompt(q: Tensor, k: Tensor, v: Tensor): Promise<Tensor> {
    const { backend, options } = this
    const [, seqlen = 0] = k.shape
    if (seqlen < options.cacheSize) throw new Error(`keyformer: expected a prompt of at least ${options.cacheSize} tokens, got ${seqlen}`)
    const { out, lse } = backend.kernels.attentionForward(q, k, v, { causal: true })
    lse.dispose()
    const draws = randomGumbel(options.nHeads * seqlen, options.seed + 1)
    const bias = backend.tensor(
      draws.map((x) => x / initialTemperature),
      [1, options.nHeads, 1, seqlen],
    )
    const sums = backend.scope(() => {
      const noisy = { causal: true, softmaxScale: this.softmaxScale(initialTemperature), bias }
      const { lse: noisyLse } = backend.kernels.attentionForward(q, k, v, noisy)
      return backend.kernels.attentionColumnSums(q, k, noisyLse, noisy)
    })
    const scores = await sums.read()
    for (const [h, head] of this.heads.entries()) {
      const kept = keptTokens(scores.subarray(h * seqlen, (h + 1) * seqlen), options)
      for (const [slot, token] of kept.entries()) {
        head.scores[slot] = scores[h * seqlen + token] as number
        head.positions[slot] = token
      }
      this.gather(h, k, v, Int32Array.from(kept))
    }
    sums.dispose()
    bias.dispose()
    this.position = seqlen
    this.step = 1
    return out
  }

  /** One token, q, k and v [1, 1, H, D]: attends to what is kept and to itself; then the token of the lowest score that is not among the latest goes. */
  async decode(q: Tensor, k: Tensor, v: Tensor): Promise<Tensor> {
    const { backend, options } = this
    const { headDim, cacheSize } = options
    const slots = cacheSize + 1
    const { out, weights } = backend.scope(() => {
      for (const [h, { free }] of this.heads.entries()) {
        const [begin, end] = [
          [0, free, h, 0],
          [1, free + 1, h + 1, headDim],
        ]
        const ofHead = (x: Tensor) => x.slice([0, 0, h, 0], [1, 1, h + 1, headDim])
        backend.kernels.copy(ofHead(k), { out: this.k.slice(begin, end) })
        backend.kernels.copy(ofHead(v), { out: this.v.slice(begin, end) })
      }
      const exact = backend.kernels.attentionForward(q, this.k, this.v)
      // Relative to the lse without noise, which decodes without a bias; the sum of what comes out is what is missing.
      const { lse } = backend.kernels.attentionForward(q, this.k, this.v, { softmaxScale: this.softmaxScale(this.temperature()) })
      return { out: exact.out, weights: backend.kernels.attentionRows(q, this.k, lse, [0], this.noisyOptions()) }
    })
    const added = await weights.read()
    weights.dispose()
    for (const [h, head] of this.heads.entries()) {
      head.positions[head.free] = this.position
      head.scores[head.free] = 0
      const ofHead = added.subarray(h * slots, (h + 1) * slots)
      let total = 0
      for (let slot = 0; slot < slots; slot++) total += ofHead[slot] as number
      for (let slot = 0; slot < slots; slot++) head.scores[slot] = (head.scores[slot] as number) + (ofHead[slot] as number) / total
      head.free = lowestSlot(head, this.position - options.recentWindow)
    }
    this.step++
    this.position++
    return out
  }

  /** Keys, values and scores as they are, [1, cacheSize + 1, H, D] and [H][cacheSize + 1]; the slot that is free holds the token that went last. */
  state(): { readonly k: Tensor; readonly v: Tensor; readonly heads: readonly Readonly<Head>[] } {
    return { k: this.k, v: this.v, heads: this.heads }
  }

  /** Where in 2·H·(cacheSize + 1) draws of `seed` the next step's begin, [H, cacheSize + 1]. */
  noiseOffset(): number {
    const span = this.options.nHeads * (this.options.cacheSize + 1)
    // Multiples of an odd number near the golden section of 2³² pass through all places in a scattered order.
    return (Math.imul(this.step, 0x9e3779b1) >>> 0) % span
  }

  /** Of the next step. */
  temperature(): number {
    const share = Math.min(1, this.step / this.options.generatedTokens)
    return initialTemperature + (lastTemperature - initialTemperature) * share
  }

  dispose(): void {
    for (const tensor of [this.k, this.v, this.noise]) tensor.dispose()
  }

  private noisyOptions(): AttentionOptions {
    const { nHeads, cacheSize } = this.options
    const [offset, tau, slots] = [this.noiseOffset(), this.temperature(), cacheSize + 1]
    const draws = this.noise.slice([offset], [offset + nHeads * slots])
    return { softmaxScale: this.softmaxScale(tau), bias: this.backend.kernels.scale(draws, 1 / tau).reshape([1, nHeads, 1, slots]) }
  }

  private softmaxScale(tau: number): number {
    return 1 / Math.sqrt(this.options.headDim) / tau
  }

  /** Copies the tokens of one head into the first slots. */
  private gather(h: number, k: Tensor, v: Tensor, tokens: Int32Array): void {
    const { backend } = this
    const { headDim } = this.options
    const [, seqlen = 0] = k.shape
    backend.scope(() => {
      const indices = backend.tensor(tokens, [tokens.length])
      for (const [from, to] of [
        [k, this.k],
        [v, this.v],
      ] as const) {
        const rows = from.slice([0, 0, h, 0], [1, seqlen, h + 1, headDim])
        // A table of embeddings is what rows are looked up in.
        const table = backend.kernels.copy(rows).reshape([seqlen, headDim])
        const found = backend.kernels.embeddingForward(indices, table)
        backend.kernels.copy(found.reshape([1, tokens.length, 1, headDim]), {
          out: to.slice([0, 0, h, 0], [1, tokens.length, h + 1, headDim]),
        })
      }
    })
  }
}

/** The recentWindow latest tokens and, of the others, the cacheSize − recentWindow of the highest score (of equal ones the earlier), ascending. */
export function keptTokens(
  scores: ArrayLike<number>,
  { cacheSize, recentWindow }: Pick<KeyformerOptions, 'cacheSize' | 'recentWindow'>,
): number[] {
  const older = Array.from({ length: scores.length - recentWindow }, (_, token) => token)
  const keyTokens = older.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b).slice(0, cacheSize - recentWindow)
  const recent = Array.from({ length: recentWindow }, (_, i) => scores.length - recentWindow + i)
  return [...keyTokens.sort((a, b) => a - b), ...recent]
}

/** The slot of the lowest score among tokens at or before a position; of equal ones the earlier token's. */
function lowestSlot({ scores, positions }: Head, lastOld: number): number {
  let lowest = -1
  for (let slot = 0; slot < scores.length; slot++) {
    if ((positions[slot] as number) > lastOld) continue
    const difference = lowest < 0 ? -1 : (scores[slot] as number) - (scores[lowest] as number)
    if (difference < 0 || (difference === 0 && (positions[slot] as number) < (positions[lowest] as number))) lowest = slot
  }
  return lowest
}
