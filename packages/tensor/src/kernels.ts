import type {
  AttentionBackwardOptions,
  AttentionBackwardResult,
  AttentionForwardOptions,
  AttentionForwardResult,
  AttentionOptions,
  AttentionTopKResult,
} from './attention'
import type { DType } from './dtype'
import type { Tensor } from './tensor'

/** Options of matmul. */
export interface MatmulOptions {
  /** Read a as [..., K, M]. */
  readonly transposeA?: boolean
  /** Read b as [..., N, K]. */
  readonly transposeB?: boolean
  /** Factor of the product, before bias. Default 1. */
  readonly alpha?: number
  /** [N], added to every row. */
  readonly bias?: Tensor
  /** Applied last. `'gelu'` is the tanh approximation. Default `'none'`. */
  readonly activation?: 'none' | 'gelu'
  /** [..., M, N], contiguous: receives the values before the activation, which geluBackward needs. */
  readonly preActivation?: Tensor
  /** [..., M, N], contiguous: the product is added to it in place, and it is what is returned. Excludes bias and activation. */
  readonly accumulateInto?: Tensor
}

/** Options of the cross-entropies. */
export interface CrossEntropyOptions {
  /** Rows with this target count neither in the loss nor in its mean. Default −100. */
  readonly ignoreIndex?: number
}

/** Options of adamwStep. */
export interface AdamWOptions {
  readonly lr: number
  readonly beta1: number
  readonly beta2: number
  readonly eps: number
  readonly weightDecay: number
  /** 1 for the first step: the exponent of the bias corrections. */
  readonly step: number
  /** The gradient is multiplied by this first (global-norm clipping, 1/accumulation steps). Default 1. */
  readonly gradScale?: number
}

/** Where a result goes: into `out` (contiguous, right shape and dtype, may be an input) instead of a new tensor. */
export interface OutOptions {
  readonly out?: Tensor
}

/** Where a parameter gradient goes: added to `accumulateInto` (contiguous, same shape) instead of a new tensor. */
export interface AccumulateOptions {
  readonly accumulateInto?: Tensor
}

/**
 * The fixed list of what a transformer's forward and backward pass needs, each kernel with its gradient beside it.
 *
 * Shape letters: B batch, S sequence (Sq of queries, Sk of keys), H heads (Hq of queries, Hk of keys), D head dim,
 * M × N × K of a product, R rows (all leading axes together), C channels, V vocabulary.
 *
 * Every kernel returns new contiguous tensors that the caller disposes, except where `out` or `accumulateInto` is given.
 * Inputs may be strided views whose last axis is contiguous, except where "contiguous" is said.
 * All throw ShapeError, DTypeError, ArgumentError, BackendMismatchError or DisposedError before any work is enqueued, and
 * UnsupportedError (`cpu: no kernel 'rope' for bf16`) where a backend lacks a dtype.
 */
export interface Kernels {
  /**
   * Exact attention in tiles, without an Sq × Sk array. q [B, Sq, Hq, D], k [B, Sk, Hk, D], v [B, Sk, Hk, Dv]; Hq a multiple
   * of Hk, query head h reads key head ⌊h·Hk/Hq⌋; D and Dv in 1..256. With cuSeqlens [totalQ, Hq, D], [totalK, Hk, D], [totalK, Hk, Dv].
   * Source: FlashAttention (arXiv 2205.14135) algorithm 1 with FlashAttention-2's (2307.08691) loop order.
   */
  attentionForward(q: Tensor, k: Tensor, v: Tensor, options?: AttentionForwardOptions): AttentionForwardResult
  /** Gradient of attentionForward from its results, recomputing scores tile by tile (arXiv 2205.14135, algorithm 4) where `probabilities` are not given. */
  attentionBackward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    options?: AttentionBackwardOptions,
  ): AttentionBackwardResult

  /**
   * Exact probabilities exp(score − lse) of chosen query rows, from the lse of a forward pass with the same options: q [B, Sq, Hq, D], k [B, Sk, Hk, D],
   * lse [B, Hq, Sq], rows: query indices → f32 [B, Hq, rows, Sk]. As before dropout; without cuSeqlens. Like the two below it works tile by tile and
   * holds no Sq × Sk array.
   */
  attentionRows(q: Tensor, k: Tensor, lse: Tensor, rows: ArrayLike<number>, options?: AttentionOptions): Tensor
  /** Attention that each key receives, Σ_i exp(score_ij − lse_i) → f32 [B, Hq, Sk]. Arguments as attentionRows. */
  attentionColumnSums(q: Tensor, k: Tensor, lse: Tensor, options?: AttentionOptions): Tensor
  /** The topK most probable keys of every query → probabilities and indices [B, Hq, Sq, topK]. Arguments as attentionRows. */
  attentionTopK(q: Tensor, k: Tensor, lse: Tensor, topK: number, options?: AttentionOptions): AttentionTopKResult

  /**
   * alpha·a·b (+ bias, activation) → [..., M, N]. a [..., M, K]; b [K, N] shared by all leading axes of a, or [..., K, N] with
   * the leading axes of a. Gradients are matmuls with transposes: da = dout·bᵀ, db = aᵀ·dout, dbias = sumRows(dout).
   */
  matmul(a: Tensor, b: Tensor, options?: MatmulOptions): Tensor
  /** x [..., N] → [N], the sum over all leading axes: gradient of a bias. */
  sumRows(x: Tensor, options?: AccumulateOptions): Tensor

  /** Normalises the last axis: x [..., C], weight [C], bias [C] → out as x, mean and rstd f32 [...]. Biased variance (arXiv 1607.06450). */
  layerNormForward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    options?: { readonly eps?: number },
  ): { out: Tensor; mean: Tensor; rstd: Tensor }
  layerNormBackward(
    dout: Tensor,
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    options?: { readonly dweightInto?: Tensor; readonly dbiasInto?: Tensor },
  ): { dx: Tensor; dweight: Tensor; dbias: Tensor }

  /** x·weight/√(mean(x²) + eps) over the last axis: x [..., C], weight [C] → out as x, rstd f32 [...] (arXiv 1910.07467). eps 1e-5. */
  rmsNormForward(x: Tensor, weight: Tensor, options?: { readonly eps?: number }): { out: Tensor; rstd: Tensor }
  rmsNormBackward(
    dout: Tensor,
    x: Tensor,
    weight: Tensor,
    rstd: Tensor,
    options?: { readonly dweightInto?: Tensor },
  ): { dx: Tensor; dweight: Tensor }

  /**
   * Softmax of scale·x over the last axis, [..., Sq, Sk]. `causal` keeps j ≤ i + Sk − Sq; a row that keeps nothing is 0.
   * This is standard attention's softmax: it holds the whole matrix.
   */
  softmaxForward(x: Tensor, options?: OutOptions & { readonly scale?: number; readonly causal?: boolean }): Tensor
  /** dx = scale·out·(dout − Σ dout·out). */
  softmaxBackward(dout: Tensor, out: Tensor, options?: OutOptions & { readonly scale?: number }): Tensor

  /** Tanh approximation: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) (arXiv 1606.08415). */
  geluForward(x: Tensor, options?: OutOptions): Tensor
  geluBackward(dout: Tensor, x: Tensor, options?: OutOptions): Tensor

  /** gate·sigmoid(gate)·up (arXiv 2002.05202). */
  swigluForward(gate: Tensor, up: Tensor, options?: OutOptions): Tensor
  swigluBackward(dout: Tensor, gate: Tensor, up: Tensor): { dgate: Tensor; dup: Tensor }

  /** tokens i32 [...], weight [V, C] → [..., C]. Tokens outside 0..V−1 read as zeros: range checks belong to who has the tokens on the host. */
  embeddingForward(tokens: Tensor, weight: Tensor): Tensor
  /** dout [..., C], tokens i32 [...] → dweight [vocabSize, C], rows summed in the order of tokens. */
  embeddingBackward(dout: Tensor, tokens: Tensor, vocabSize: number, options?: AccumulateOptions): Tensor

  /**
   * Rotary embedding with half-rotation pairs (i, i + R/2) as in Llama: x [B, S, H, D], cos and sin f32 [maxS, R/2], R ≤ D; dims from R on pass
   * through. Row s uses position s + positionOffset (arXiv 2104.09864, eq. 34).
   */
  ropeForward(x: Tensor, cos: Tensor, sin: Tensor, options?: { readonly positionOffset?: number }): Tensor
  /** The inverse rotation. */
  ropeBackward(dout: Tensor, cos: Tensor, sin: Tensor, options?: { readonly positionOffset?: number }): Tensor

  /** Mean over rows of −log softmax(logits)[target]: logits [R, V], targets i32 [R] → loss f32 [], lse f32 [R]. 0 if every row is ignored. */
  crossEntropyForward(logits: Tensor, targets: Tensor, options?: CrossEntropyOptions): { loss: Tensor; lse: Tensor }
  /** dloss f32 [] → dlogits [R, V]. */
  crossEntropyBackward(dloss: Tensor, logits: Tensor, targets: Tensor, lse: Tensor, options?: CrossEntropyOptions & OutOptions): Tensor
  /** crossEntropyForward of logits = x·weightᵀ, in chunks of rows that never hold all the logits: x [R, C], weight [V, C], targets i32 [R]. */
  linearCrossEntropyForward(x: Tensor, weight: Tensor, targets: Tensor, options?: CrossEntropyOptions): { loss: Tensor; lse: Tensor }
  linearCrossEntropyBackward(
    dloss: Tensor,
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    lse: Tensor,
    options?: CrossEntropyOptions & { readonly dweightInto?: Tensor },
  ): { dx: Tensor; dweight: Tensor }

  /** a + b, same shape. */
  add(a: Tensor, b: Tensor, options?: OutOptions): Tensor
  /** factor·x. */
  scale(x: Tensor, factor: number, options?: OutOptions): Tensor
  /** Round to nearest even. f32 ↔ f16, bf16. */
  cast(x: Tensor, dtype: DType): Tensor
  /** A contiguous copy of any strided view, or, with `out`, a write into any strided view of the same shape and dtype (e.g. a KV cache). */
  copy(x: Tensor, options?: OutOptions): Tensor

  /**
   * One step of AdamW in place on param, expAvg and expAvgSq (contiguous, one shape), with decoupled decay: arXiv 1711.05101, algorithm 2,
   * in PyTorch's order (param ← param·(1 − lr·weightDecay), then − lr·m̂/(√v̂ + eps)).
   */
  adamwStep(param: Tensor, grad: Tensor, expAvg: Tensor, expAvgSq: Tensor, options: AdamWOptions): void
  /** Σ x², f32 [], accumulated in a fixed order; with `accumulateInto` (f32 []) added to it. */
  sumSquares(x: Tensor, options?: AccumulateOptions): Tensor
}
