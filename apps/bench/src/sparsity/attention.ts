import type { AttentionOptions, Backend, BlockMask } from '@tilegrad/tensor'
import type { AttentionShape } from '../attention/problem'
import { standardAttention } from '../attention/standard'
import type { AttentionTensors, TensorResult } from '../attention/tilegrad'
import type { CheckedResult } from './check'

/** `backward` alone starts from the results of a forward pass that is not timed. */
export type SparsePass = 'forward' | 'backward' | 'forward+backward'

export interface SparseAttentionOptions {
  readonly algorithm: 'flash' | 'standard'
  readonly pass: SparsePass
  readonly shape: AttentionShape
}

/** Attention under a block mask or none, forward, backward or both: each `call` replaces the results of the one before. */
export class SparseAttention {
  private readonly options: AttentionOptions
  private forward: Omit<TensorResult, 'gradients'> | undefined
  private gradients: TensorResult['gradients']

  constructor(
    private readonly backend: Backend,
    private readonly tensors: AttentionTensors,
    private readonly job: SparseAttentionOptions,
    blockMask: BlockMask | null,
  ) {
    this.options = blockMask === null ? {} : { blockMask }
    if (job.pass === 'backward') this.forward = this.attentionForward()
  }

  call(): void {
    const { algorithm, pass, shape } = this.job
    this.release()
    if (algorithm === 'standard') {
      const { gradients, ...forward } = standardAttention(this.backend, this.tensors, shape, pass !== 'forward')
      this.forward = forward
      this.gradients = gradients
      return
    }
    this.forward ??= this.attentionForward()
    if (pass !== 'forward') this.gradients = this.attentionBackward()
  }

  async result(): Promise<CheckedResult> {
    if (!this.forward) throw new Error('attention was not called')
    const { gradients } = this
    const [dq, dk, dv] = [await gradients?.dq.read(), await gradients?.dk.read(), await gradients?.dv.read()]
    // Standard attention has no lse: that of the tiled forward pass, of which rows are checked too, tells what dk and dv are made of.
    const lse = this.forward.lse ?? this.attentionForward().lse
    return { out: await this.forward.out.read(), lse: await lse.read(), gradients: dq && dk && dv ? { dq, dk, dv } : undefined }
  }

  private attentionForward() {
    const { q, k, v } = this.tensors
    return this.backend.kernels.attentionForward(q, k, v, this.options)
  }

  private attentionBackward() {
    const { forward, backend, options } = this
    const { q, k, v, dout } = this.tensors
    if (!forward?.lse) throw new Error('a backward pass needs a forward pass')
    return backend.kernels.attentionBackward(dout, q, k, v, forward.out, forward.lse, options)
  }

  /** All that the call before made; the backward pass alone keeps the forward pass's results. */
  private release(): void {
    for (const tensor of Object.values(this.gradients ?? {})) tensor.dispose()
    this.gradients = undefined
    if (this.job.pass === 'backward') return
    for (const tensor of Object.values(this.forward ?? {})) tensor.dispose()
    this.forward = undefined
  }
}
