import {
  BackendMismatchError,
  type CrossEntropyOptions,
  type DType,
  formatShape,
  numel,
  ShapeError,
  shapesEqual,
  type Tensor,
} from '@tilegrad/tensor'
import { backwardOrder, runBackward } from './backward'
import { checkpoint } from './checkpoint'
import { NoGradientError } from './errors/no-gradient-error'
import { NonScalarLossError } from './errors/non-scalar-loss-error'
import { Gradient } from './gradient'
import { Node } from './node'
import { gelu, swiglu } from './ops/activation'
import { type AttentionOptions, attention } from './ops/attention'
import { crossEntropy, linearCrossEntropy } from './ops/cross-entropy'
import { type CustomFunction, custom } from './ops/custom'
import { embedding } from './ops/embedding'
import { type MatmulOptions, matmul } from './ops/matmul'
import { layerNorm, type NormOptions, rmsNorm } from './ops/norm'
import { add, cast, copy, scale } from './ops/pointwise'
import { type RopeOptions, rope } from './ops/rope'
import { type SoftmaxOptions, softmax } from './ops/softmax'
import { permute, reshape, slice } from './ops/view'
import { Recorder } from './recorder'
import type { Variable } from './variable'

/**
 * Reverse-mode differentiation over one backend. Each operation runs at once and, where a gradient is wanted, is recorded with what
 * its gradient needs; `backward` runs the recorded operations in reverse.
 *
 * Operations take the shapes and options of the kernel they are named after (see `Kernels` in @tilegrad/tensor), throw its errors, and
 * besides TapeMismatchError and DisposedError. Nothing broadcasts. Results are variables to dispose; put a training step in `scope`.
 */
export class Tape extends Recorder {
  /**
   * q [B, Sq, Hq, D], k [B, Sk, Hk, D], v [B, Sk, Hk, Dv] → [B, Sq, Hq, Dv]; with cuSeqlens without B. alibiSlopes, bias and sink get
   * gradients where they are variables that want one.
   */
  attention(q: Variable, k: Variable, v: Variable, options?: AttentionOptions): Variable {
    return attention(this, q, k, v, options)
  }

  /** alpha·a·b (+ bias, activation): a [..., M, K], b [K, N] or [..., K, N] → [..., M, N]. */
  matmul(a: Variable, b: Variable, options?: MatmulOptions): Variable {
    return matmul(this, a, b, options)
  }

  /** x [..., C], weight [C], bias [C] → as x. */
  layerNorm(x: Variable, weight: Variable, bias: Variable, options?: NormOptions): Variable {
    return layerNorm(this, x, weight, bias, options)
  }

  /** x [..., C], weight [C] → as x. */
  rmsNorm(x: Variable, weight: Variable, options?: NormOptions): Variable {
    return rmsNorm(this, x, weight, options)
  }

  /** Softmax of scale·x over the last axis; `causal` for [..., Sq, Sk]. */
  softmax(x: Variable, options?: SoftmaxOptions): Variable {
    return softmax(this, x, options)
  }

  /** Tanh approximation of gelu. */
  gelu(x: Variable): Variable {
    return gelu(this, x)
  }

  /** gate·sigmoid(gate)·up. */
  swiglu(gate: Variable, up: Variable): Variable {
    return swiglu(this, gate, up)
  }

  /** tokens i32 [...], weight [V, C] → [..., C]. */
  embedding(tokens: Tensor, weight: Variable): Variable {
    return embedding(this, tokens, weight)
  }

  /** x [B, S, H, D], cos and sin f32 [maxS, R/2] → as x. */
  rope(x: Variable, cos: Tensor, sin: Tensor, options?: RopeOptions): Variable {
    return rope(this, x, cos, sin, options)
  }

  /** logits [R, V], targets i32 [R] → mean loss []. */
  crossEntropy(logits: Variable, targets: Tensor, options?: CrossEntropyOptions): Variable {
    return crossEntropy(this, logits, targets, options)
  }

  /** crossEntropy of x·weightᵀ without ever holding all logits: x [R, C], weight [V, C], targets i32 [R] → mean loss []. */
  linearCrossEntropy(x: Variable, weight: Variable, targets: Tensor, options?: CrossEntropyOptions): Variable {
    return linearCrossEntropy(this, x, weight, targets, options)
  }

  /** a + b of one shape. */
  add(a: Variable, b: Variable): Variable {
    return add(this, a, b)
  }

  /** factor·x. */
  scale(x: Variable, factor: number): Variable {
    return scale(this, x, factor)
  }

  cast(x: Variable, dtype: DType): Variable {
    return cast(this, x, dtype)
  }

  /** A contiguous copy, e.g. of a permuted view for an operation that needs its last axis contiguous. */
  copy(x: Variable): Variable {
    return copy(this, x)
  }

  /** View in another shape; −1 infers one axis. Throws ShapeError where strides forbid a view: copy first. */
  reshape(x: Variable, shape: readonly number[]): Variable {
    return reshape(this, x, shape)
  }

  /** View with axes reordered. */
  permute(x: Variable, axes: readonly number[]): Variable {
    return permute(this, x, axes)
  }

  /** View of `[start[i], end[i])` on each axis; omitted trailing axes stay whole. */
  slice(x: Variable, start: readonly number[], end: readonly number[]): Variable {
    return slice(this, x, start, end)
  }

  /** A function of the user's own with its gradient. `name` is what messages call it. */
  custom(name: string, inputs: readonly Variable[], fn: CustomFunction): Variable {
    return custom(this, name, inputs, fn)
  }

  /**
   * Runs `fn` without keeping what its gradients need, and runs it again in backward: memory for time. Variables and tensors that `fn`
   * reads by closure are inputs too. `fn` must compute the same both times.
   */
  checkpoint(fn: (...inputs: Variable[]) => Variable, ...inputs: Variable[]): Variable {
    return checkpoint(this, fn, inputs)
  }

  /**
   * Adds the gradient of `loss` to the `grad` of every parameter behind it and frees the graph: each saved tensor as soon as it has been
   * used. Several calls accumulate. `seed` is the gradient to start from (shape and dtype of `loss`), default 1 for a loss of one element.
   * @throws NoGradientError if `loss` depends on no parameter, NonScalarLossError, BackwardTwiceError, SavedTensorModifiedError,
   * DisposedError, ShapeError: all before any gradient changes.
   */
  backward(loss: Variable, options: { readonly seed?: Tensor } = {}): void {
    const value = this.use('backward', loss)
    const { slot } = loss
    if (!slot) {
      throw new NoGradientError('backward', loss.describe(), 'make what it depends on with parameter() and compute it outside noGrad()')
    }
    const { seed } = options
    if (!seed && numel(value.shape) !== 1) throw new NonScalarLossError(value.shape)
    if (seed && !(shapesEqual(seed.shape, value.shape) && seed.dtype === value.dtype)) {
      const expected = `a seed like the loss, ${value.dtype} ${formatShape(value.shape)}`
      throw new ShapeError('backward', expected, `${seed.dtype} ${formatShape(seed.shape)}`)
    }
    if (seed && seed.backend !== this.backend) {
      throw new BackendMismatchError('backward', 'seed', this.backend.info.name, seed.backend.info.name)
    }
    const order = slot instanceof Node ? backwardOrder(slot) : []
    slot.add(seed ? Gradient.lend(seed) : Gradient.own(this.one(value)))
    if (slot instanceof Node) runBackward(this.backend, order)
    else slot.settle()
  }

  /** Frees the gradients of `parameters`: the next backward starts from zero. */
  zeroGrad(parameters: Iterable<Variable>): void {
    for (const parameter of parameters) {
      if (parameter.tape !== this || !parameter.isParameter) {
        throw new NoGradientError('zeroGrad', parameter.describe(), 'pass parameters of this tape')
      }
      parameter.slot?.releaseGradient()
    }
  }

  private one({ shape, dtype }: Tensor): Tensor {
    const one = this.backend.tensor([1], shape)
    if (dtype === 'f32') return one
    const rounded = this.backend.kernels.cast(one, dtype)
    one.dispose()
    return rounded
  }
}
