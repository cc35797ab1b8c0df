import { Tape, type Variable } from '@tilegrad/autograd'
import { ArgumentError, type Backend, DTypeError, formatShape, ShapeError, type Tensor } from '@tilegrad/tensor'
import { CausalAttention, checkDocuments, documentPositions, type Pass } from './attention'
import type { FromPretrainedOptions, SaveOptions } from './checkpoint/pretrained'
import { type GPTConfig, type GPTConfigOptions, resolveConfig } from './config'
import { initialWeights } from './init'
import type { KVCache } from './kv-cache'
import { createRopeTable, type RopeTable } from './rope-table'

/** What forward and loss take besides tokens. */
export interface PassOptions {
  /**
   * Documents packed into the B·T rows of tokens, as offsets from 0 to B·T; every multiple of T is one. Attention then stays within a document, and
   * learned positions start anew in each. Rotary positions need not: they enter by their differences.
   */
  readonly cuSeqlens?: Int32Array
  /** Turns on `attentionDropout` and says which probabilities it drops: an integer in 0..2^53−1, another one for every training pass. */
  readonly dropoutSeed?: number
}

/** Options of GPT.forward. */
export interface ForwardOptions extends PassOptions {
  /** Continue after the positions in this cache and add the new ones to it. Such a pass records no gradients. */
  readonly cache?: KVCache
  /** Compute the logits of the last position only: [B, 1, vocabSize]. Default false. */
  readonly lastOnly?: boolean
}

/**
 * A decoder-only transformer: GPT-2 (Radford et al. 2019) or Llama (arXiv 2302.13971), by `config.architecture`.
 *
 * Shape letters: B batch, T positions, C dModel, H query heads, Hk key heads, D headDim, V vocabSize.
 */
export class GPT {
  /** Records what forward and loss compute; `tape.backward(loss)` fills the gradients of `parameters()`. */
  readonly tape: Tape
  private readonly weights = new Map<string, Variable>()
  private readonly rope: RopeTable | undefined
  private readonly causalAttention: CausalAttention

  /** Takes over `weights`, which must be those of `parameterSpecs(config)`; use fromConfig or fromPretrained. */
  constructor(
    readonly config: GPTConfig,
    readonly backend: Backend,
    weights: Iterable<readonly [name: string, tensor: Tensor]>,
  ) {
    this.tape = new Tape(backend)
    for (const [name, tensor] of weights) this.weights.set(name, this.tape.parameter(tensor, { name }))
    if (config.positions === 'rotary') this.rope = createRopeTable(backend, config)
    this.causalAttention = new CausalAttention(config, backend)
  }

  /**
   * A fresh model. The same seed gives the same weights on every backend.
   * @throws ArgumentError naming the field of `options` that does not fit.
   */
  static fromConfig(options: GPTConfigOptions, { backend, seed = 0 }: { readonly backend: Backend; readonly seed?: number }): GPT {
    const config = resolveConfig(options)
    return new GPT(config, backend, initialWeights(config, backend, seed))
  }

  /**
   * A model from a folder with config.json and model.safetensors (or its shards), as `save` and Hugging Face's save_pretrained write it.
   * @throws CheckpointError naming the file and the tensor that is missing, unexpected, misshapen or corrupt.
   */
  static async fromPretrained(folder: string, options: FromPretrainedOptions): Promise<GPT> {
    const { loadPretrained } = await import('./checkpoint/pretrained')
    const { config, weights } = await loadPretrained(folder, options)
    return new GPT(config, options.backend, weights)
  }

  /** Writes config.json and model.safetensors (and tokenizer.json), each replaced atomically, with Hugging Face's names. */
  async save(folder: string, options?: SaveOptions): Promise<void> {
    const { savePretrained } = await import('./checkpoint/pretrained')
    await savePretrained(this, folder, options)
  }

  /** The weights by their Hugging Face names, in the order of the forward pass. A tied head is listed once, as the embedding. */
  parameters(): ReadonlyMap<string, Variable> {
    return this.weights
  }

  /** Drops all gradients: the next backward pass starts from zero. */
  zeroGrad(): void {
    this.tape.zeroGrad(this.weights.values())
  }

  /** How many numbers the model learns. */
  get parameterCount(): number {
    let count = 0
    for (const { shape } of this.weights.values()) count += shape.reduce((n, s) => n * s, 1)
    return count
  }

  /**
   * Token ids as the i32 tensor [B, T] that forward and loss read; `ids` is row-major, `shape` defaults to [1, ids.length].
   * @throws ArgumentError for an id outside 0..vocabSize−1 other than `ignoreIndex` (for targets).
   */
  tokens(ids: ArrayLike<number>, shape: readonly number[] = [1, ids.length], ignoreIndex?: number): Tensor {
    const { vocabSize } = this.config
    const data = Int32Array.from(ids)
    for (let i = 0; i < data.length; i++) {
      const id = ids[i] as number
      if (id === ignoreIndex || (Number.isInteger(id) && id >= 0 && id < vocabSize)) continue
      throw new ArgumentError('GPT.tokens', `ids must be integers in 0..${vocabSize - 1}`, `${id} at index ${i}`)
    }
    return this.backend.tensor(data, shape, 'i32')
  }

  /** tokens i32 [B, T] → logits [B, T, V]. T is at most contextLength, cached positions included. */
  forward(tokens: Tensor, { lastOnly = false, ...pass }: ForwardOptions = {}): Variable {
    const { tape } = this
    const run = () =>
      tape.scope(() => {
        const x = this.hidden('GPT.forward', tokens, pass)
        const [batchSize, seqlen, dModel] = x.shape as [number, number, number]
        const from = lastOnly ? Math.max(0, seqlen - 1) : 0
        const read = lastOnly ? tape.slice(x, [0, from], [batchSize, seqlen]) : x
        return tape.matmul(tape.reshape(read, [batchSize, seqlen - from, dModel]), this.head, { transposeB: true })
      })
    return pass.cache ? tape.noGrad(run) : run()
  }

  /**
   * Mean cross-entropy, in nats per token, of predicting targets i32 [B, T] from tokens i32 [B, T]; a scalar.
   * Targets of `ignoreIndex` (−100) do not count. The logits are never held at once, whatever T.
   */
  loss(tokens: Tensor, targets: Tensor, { ignoreIndex, ...pass }: PassOptions & { readonly ignoreIndex?: number } = {}): Variable {
    const { tape } = this
    if (formatShape(targets.shape) !== formatShape(tokens.shape)) {
      throw new ShapeError('GPT.loss', `targets must have the shape of tokens, ${formatShape(tokens.shape)}`, formatShape(targets.shape))
    }
    return tape.scope(() => {
      const x = tape.reshape(this.hidden('GPT.loss', tokens, pass), [-1, this.config.dModel])
      return tape.linearCrossEntropy(x, this.head, targets.reshape([-1]), ignoreIndex === undefined ? {} : { ignoreIndex })
    })
  }

  /** Frees the weights and their gradients. */
  dispose(): void {
    for (const weight of this.weights.values()) weight.dispose()
    this.rope?.cos.dispose()
    this.rope?.sin.dispose()
    this.causalAttention.dispose()
  }

  /** tokens [B, T] → the normed residual stream after the last block, [B, T, C]. */
  private hidden(fn: string, tokens: Tensor, pass: Pass): Variable {
    const { tape, config } = this
    const { cache } = pass
    const seqlen = this.checkTokens(fn, tokens, pass)
    const gpt2 = config.architecture === 'gpt2'
    return tape.scope(() => {
      let x = tape.scope(() => this.embed(tokens, pass))
      for (let layer = 0; layer < config.nLayers; layer++) {
        const block = (input: Variable) => (gpt2 ? this.gpt2Block(input, layer, pass) : this.llamaBlock(input, layer, pass))
        const input = x
        x = config.activationCheckpointing && !cache ? tape.checkpoint(block, input) : tape.scope(() => block(input))
        input.dispose()
      }
      cache?.advance(seqlen)
      return gpt2 ? this.layerNorm(x, 'transformer.ln_f') : this.rmsNorm(x, 'model.norm')
    })
  }

  private embed(tokens: Tensor, { cache, cuSeqlens }: Pass): Variable {
    const { tape } = this
    const embedded = tape.embedding(tokens, this.weight(this.embedding))
    if (this.config.positions !== 'learned') return embedded
    const [batchSize, seqlen] = tokens.shape as [number, number]
    const offset = cache?.length ?? 0
    const positions = cuSeqlens
      ? documentPositions(cuSeqlens)
      : Int32Array.from({ length: batchSize * seqlen }, (_, i) => offset + (i % seqlen))
    return tape.add(embedded, tape.embedding(this.backend.tensor(positions, tokens.shape, 'i32'), this.weight('transformer.wpe.weight')))
  }

  /** x [B, T, C] → [B, T, C]: pre-norm attention and feed-forward, each added to the residual stream. */
  private gpt2Block(x: Variable, layer: number, pass: Pass): Variable {
    const { tape } = this
    const { nHeads, headDim } = this.config
    const name = `transformer.h.${layer}`
    const [batchSize, seqlen] = x.shape as [number, number, number]

    const packed = this.conv1D(this.layerNorm(x, `${name}.ln_1`), `${name}.attn.c_attn`)
    const qkv = tape.reshape(packed, [batchSize, seqlen, 3, nHeads, headDim])
    const part = (i: number) => tape.reshape(tape.slice(qkv, [0, 0, i], [batchSize, seqlen, i + 1]), [batchSize, seqlen, nHeads, headDim])
    const attended = this.causalAttention.apply(tape, part(0), part(1), part(2), layer, pass, this.sink(`${name}.attn`))
    const middle = tape.add(x, this.conv1D(attended, `${name}.attn.c_proj`))

    const expanded = this.conv1D(this.layerNorm(middle, `${name}.ln_2`), `${name}.mlp.c_fc`, 'gelu')
    return tape.add(middle, this.conv1D(expanded, `${name}.mlp.c_proj`))
  }

  /** x [B, T, C] → [B, T, C], with rotary positions, grouped keys and SwiGLU. */
  private llamaBlock(x: Variable, layer: number, pass: Pass): Variable {
    const { tape } = this
    const { nHeads, nHeadsK, headDim } = this.config
    const name = `model.layers.${layer}`
    const [batchSize, seqlen] = x.shape as [number, number, number]

    const normed = this.rmsNorm(x, `${name}.input_layernorm`)
    const project = (which: string, heads: number) =>
      tape.reshape(this.linear(normed, `${name}.self_attn.${which}_proj`), [batchSize, seqlen, heads, headDim])
    const positionOffset = pass.cache?.length ?? 0
    const rotate = (x: Variable) => (this.rope ? tape.rope(x, this.rope.cos, this.rope.sin, { positionOffset }) : x)
    const [q, k, v] = [rotate(project('q', nHeads)), rotate(project('k', nHeadsK)), project('v', nHeadsK)]
    const attended = this.causalAttention.apply(tape, q, k, v, layer, pass, this.sink(`${name}.self_attn`))
    const middle = tape.add(x, this.linear(attended, `${name}.self_attn.o_proj`))

    const wide = this.rmsNorm(middle, `${name}.post_attention_layernorm`)
    const gated = tape.swiglu(this.linear(wide, `${name}.mlp.gate_proj`), this.linear(wide, `${name}.mlp.up_proj`))
    return tape.add(middle, this.linear(gated, `${name}.mlp.down_proj`))
  }

  /** [H], where heads learn a sink. */
  private sink(name: string): Variable | undefined {
    return this.config.attentionSink ? this.weight(`${name}.sinks`) : undefined
  }

  private layerNorm(x: Variable, name: string): Variable {
    return this.tape.layerNorm(x, this.weight(`${name}.weight`), this.weight(`${name}.bias`), { eps: this.config.normEps })
  }

  private rmsNorm(x: Variable, name: string): Variable {
    return this.tape.rmsNorm(x, this.weight(`${name}.weight`), { eps: this.config.normEps })
  }

  /** GPT-2's projection: weight [in, out] and bias [out]. */
  private conv1D(x: Variable, name: string, activation: 'none' | 'gelu' = 'none'): Variable {
    return this.tape.matmul(x, this.weight(`${name}.weight`), { bias: this.weight(`${name}.bias`), activation })
  }

  /** Llama's projection: weight [out, in]. */
  private linear(x: Variable, name: string): Variable {
    return this.tape.matmul(x, this.weight(`${name}.weight`), { transposeB: true })
  }

  /** [V, C]: the token embedding where the head is tied to it. */
  private get head(): Variable {
    return this.weight(this.config.tieEmbeddings ? this.embedding : 'lm_head.weight')
  }

  private get embedding(): string {
    return this.config.architecture === 'gpt2' ? 'transformer.wte.weight' : 'model.embed_tokens.weight'
  }

  private weight(name: string): Variable {
    const weight = this.weights.get(name)
    if (!weight) throw new ArgumentError('GPT', `weights must contain '${name}'`, 'none')
    return weight
  }

  private checkTokens(fn: string, { shape, dtype }: Tensor, { cache, cuSeqlens }: Pass): number {
    const [batchSize, seqlen] = shape
    if (dtype !== 'i32') throw new DTypeError(fn, 'tokens must be i32', dtype)
    if (shape.length !== 2 || !batchSize || !seqlen) throw new ShapeError(fn, 'tokens must be [B, T], not empty', formatShape(shape))
    cache?.checkRoom(fn, batchSize, seqlen)
    if (cuSeqlens) {
      if (cache) throw new ArgumentError(fn, 'cuSeqlens must be left out with a cache', 'both')
      checkDocuments(fn, cuSeqlens, batchSize, seqlen)
    }
    const { contextLength } = this.config
    if ((cache?.length ?? 0) + seqlen > contextLength) {
      throw new ShapeError(fn, `at most contextLength ${contextLength} positions`, `${(cache?.length ?? 0) + seqlen}`)
    }
    return seqlen
  }
}
