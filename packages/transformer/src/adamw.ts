import type { Variable } from '@tilegrad/autograd'
import { ArgumentError, type Backend, formatShape, shapesEqual, type Tensor } from '@tilegrad/tensor'
import { CheckpointError } from './errors/checkpoint-error'
import { NonFiniteGradientError } from './errors/non-finite-gradient-error'

export interface AdamWOptions {
  /** Learning rate of steps that do not state theirs. Default 1e-3. */
  readonly lr?: number
  /** Default 0.9. */
  readonly beta1?: number
  /** Default 0.999. */
  readonly beta2?: number
  /** Default 1e-8. */
  readonly eps?: number
  /** Decoupled decay of the weights with two or more axes; norms and biases do not decay. Default 0.01. */
  readonly weightDecay?: number
}

export interface StepOptions {
  /** Learning rate of this step, e.g. from warmupCosine. */
  readonly lr?: number
  /** Gradients are scaled down together so that their norm is at most this. Default: no clipping. */
  readonly maxGradNorm?: number
}

/** What `state()` hands out: `writeSafetensors(path, state.tensors, { metadata: state.metadata })` stores it. */
export interface OptimizerState {
  readonly metadata: Readonly<Record<string, string>>
  /** `<parameter>.exp_avg` and `<parameter>.exp_avg_sq`; the optimizer's own tensors: not to be disposed. */
  readonly tensors: ReadonlyMap<string, Tensor>
}

/** What `load` reads: `readSafetensors` of a stored state is one. */
export interface OptimizerStateSource {
  readonly metadata: Readonly<Record<string, string>>
  readonly shapes: ReadonlyMap<string, readonly number[]>
  readF32(name: string): Promise<Float32Array>
}

interface Moments {
  readonly variable: Variable
  readonly expAvg: Tensor
  readonly expAvgSq: Tensor
}

/** AdamW with PyTorch's defaults and order of operations (arXiv 1711.05101, algorithm 2) and global-norm clipping. */
export class AdamW {
  readonly options: Required<AdamWOptions>
  private readonly backend: Backend
  private readonly moments = new Map<string, Moments>()
  private steps = 0

  /** @throws ArgumentError for an option out of range. Takes 8 bytes of device memory per number of `parameters`. */
  constructor(parameters: ReadonlyMap<string, Variable>, options: AdamWOptions = {}) {
    const { lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0.01 } = options
    this.options = { lr, beta1, beta2, eps, weightDecay }
    checkRange('lr', lr, 0, Number.MAX_VALUE)
    checkRange('beta1', beta1, 0, 1 - Number.EPSILON)
    checkRange('beta2', beta2, 0, 1 - Number.EPSILON)
    checkRange('eps', eps, Number.MIN_VALUE, Number.MAX_VALUE)
    checkRange('weightDecay', weightDecay, 0, Number.MAX_VALUE)
    const first = parameters.values().next().value
    if (!first) throw new ArgumentError('AdamW', 'parameters must not be empty', 'none')
    this.backend = first.value.backend
    for (const [name, variable] of parameters) {
      const zeros = () => this.backend.keep(this.backend.zeros(variable.shape))
      this.moments.set(name, { variable, expAvg: zeros(), expAvgSq: zeros() })
    }
  }

  /** Number of steps so far. */
  get stepsTaken(): number {
    return this.steps
  }

  /**
   * Updates every parameter that has a gradient. `gradNorm` is the norm of all gradients before clipping.
   * @throws NonFiniteGradientError if that norm is NaN or infinite; parameters and state are then as before.
   */
  async step({ lr = this.options.lr, maxGradNorm }: StepOptions = {}): Promise<{ gradNorm: number }> {
    checkRange('lr', lr, 0, Number.MAX_VALUE)
    if (maxGradNorm !== undefined) checkRange('maxGradNorm', maxGradNorm, Number.MIN_VALUE, Number.MAX_VALUE)
    const gradNorm = await this.gradNorm()
    if (!Number.isFinite(gradNorm)) throw new NonFiniteGradientError(gradNorm, this.steps)
    // As torch.nn.utils.clip_grad_norm_: the 1e-6 keeps the quotient finite.
    const gradScale = maxGradNorm === undefined ? 1 : Math.min(1, maxGradNorm / (gradNorm + 1e-6))
    const { beta1, beta2, eps } = this.options
    this.steps++
    for (const { variable, expAvg, expAvgSq } of this.moments.values()) {
      const { grad, value, shape } = variable
      if (!grad) continue
      const weightDecay = shape.length >= 2 ? this.options.weightDecay : 0
      const options = { lr, beta1, beta2, eps, weightDecay, step: this.steps, gradScale }
      this.backend.kernels.adamwStep(value, grad, expAvg, expAvgSq, options)
    }
    return { gradNorm }
  }

  /** The moments and the number of steps, for a checkpoint. */
  state(): OptimizerState {
    const tensors = new Map<string, Tensor>()
    for (const [name, { expAvg, expAvgSq }] of this.moments) {
      tensors.set(`${name}.exp_avg`, expAvg)
      tensors.set(`${name}.exp_avg_sq`, expAvgSq)
    }
    return { metadata: { step: String(this.steps) }, tensors }
  }

  /**
   * Continues from a stored state; a failure leaves the optimizer as it was.
   * @throws CheckpointError naming what is missing, unexpected or misshapen.
   */
  async load(source: OptimizerStateSource): Promise<void> {
    const { tensors } = this.state()
    const steps = Number(source.metadata.step)
    if (!Number.isSafeInteger(steps) || steps < 0) {
      throw new CheckpointError('optimizer state', `metadata 'step' must be a whole number, got ${JSON.stringify(source.metadata.step)}`)
    }
    for (const name of source.shapes.keys()) {
      if (!tensors.has(name)) throw new CheckpointError('optimizer state', `unexpected tensor '${name}': it belongs to another model`)
    }
    for (const [name, { shape }] of tensors) {
      const stored = source.shapes.get(name)
      if (!stored) throw new CheckpointError('optimizer state', `tensor '${name}' is missing`)
      if (!shapesEqual(stored, shape)) {
        throw new CheckpointError('optimizer state', `tensor '${name}' must be ${formatShape(shape)}, got ${formatShape(stored)}`)
      }
    }
    const loaded = new Map<Tensor, Tensor>()
    try {
      for (const [name, tensor] of tensors) {
        loaded.set(tensor, this.backend.keep(this.backend.tensor(await source.readF32(name), tensor.shape)))
      }
      for (const [tensor, from] of loaded) this.backend.kernels.copy(from, { out: tensor })
      this.steps = steps
    } finally {
      for (const from of loaded.values()) from.dispose()
    }
  }

  dispose(): void {
    for (const { expAvg, expAvgSq } of this.moments.values()) {
      expAvg.dispose()
      expAvgSq.dispose()
    }
  }

  /** √ of the sum of all squares, added up on the device in the order of the parameters, read once. */
  private async gradNorm(): Promise<number> {
    const sum = this.backend.keep(this.backend.zeros([]))
    try {
      for (const { variable } of this.moments.values()) {
        if (variable.grad) this.backend.kernels.sumSquares(variable.grad, { accumulateInto: sum })
      }
      return Math.sqrt((await sum.read())[0] as number)
    } finally {
      sum.dispose()
    }
  }
}

function checkRange(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value <= high)) throw new ArgumentError('AdamW', `${name} must be in [${low}, ${high}]`, String(value))
}
