import type { Backend, Tensor } from '@tilegrad/tensor'
import { randomNormal } from '../random'

/** Self-attention: q, k, v and dout are [batchSize, seqlen, nHeads, headDim]. */
export interface AttentionShape {
  readonly batchSize: number
  readonly seqlen: number
  readonly nHeads: number
  readonly headDim: number
  readonly causal: boolean
}

export interface AttentionInputs {
  readonly q: Float32Array
  readonly k: Float32Array
  readonly v: Float32Array
  readonly dout: Float32Array
}

export function randomInputs({ batchSize, seqlen, nHeads, headDim }: AttentionShape): AttentionInputs {
  const values = (seed: number) => randomNormal(batchSize * seqlen * nHeads * headDim, seed)
  return { q: values(1), k: values(2), v: values(3), dout: values(4) }
}

export type AttentionTensors = { readonly [name in keyof AttentionInputs]: Tensor }

export function upload(
  backend: Backend,
  inputs: AttentionInputs,
  { batchSize, seqlen, nHeads, headDim }: AttentionShape,
): AttentionTensors {
  const tensor = (data: Float32Array) => backend.tensor(data, [batchSize, seqlen, nHeads, headDim])
  return { q: tensor(inputs.q), k: tensor(inputs.k), v: tensor(inputs.v), dout: tensor(inputs.dout) }
}

export interface AttentionResult {
  readonly out: Tensor
  readonly lse?: Tensor
  readonly gradients?: { readonly dq: Tensor; readonly dk: Tensor; readonly dv: Tensor }
}

export function release({ out, lse, gradients }: AttentionResult): void {
  for (const tensor of [out, lse, gradients?.dq, gradients?.dk, gradients?.dv]) tensor?.dispose()
}
