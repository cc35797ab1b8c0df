import type { Backend, Tensor } from '@tilegrad/tensor'
import { type AttentionInputs, type AttentionRunner, type AttentionShape, keyHeads } from './problem'
import { standardAttention } from './standard'

export type AttentionTensors = { readonly [name in keyof AttentionInputs]: Tensor }

/** Results of an attention of our own, on its backend. */
export interface TensorResult {
  readonly out: Tensor
  readonly lse?: Tensor
  readonly gradients?: { readonly dq: Tensor; readonly dk: Tensor; readonly dv: Tensor }
}

/** Our attention, or the standard one on the same kernels. */
export function tilegradRunner(
  backend: Backend,
  algorithm: 'flash' | 'standard',
  inputs: AttentionInputs,
  shape: AttentionShape,
  backward: boolean,
): AttentionRunner {
  const tensors = upload(backend, inputs, shape)
  const attention = algorithm === 'flash' ? flashAttention : standardAttention
  let last: TensorResult | undefined
  const atRest = backend.memory().bytes
  backend.resetPeakMemory()
  return {
    device: backend.info.driver,
    call: () => {
      if (last) release(last)
      last = attention(backend, tensors, shape, backward)
    },
    sync: () => backend.sync(),
    result: async () => {
      if (!last) throw new Error('attention was not called')
      const { out, lse, gradients } = last
      const [dq, dk, dv] = [await gradients?.dq.read(), await gradients?.dk.read(), await gradients?.dv.read()]
      return { out: await out.read(), lse: await lse?.read(), gradients: dq && dk && dv ? { dq, dk, dv } : undefined }
    },
    peakTensorBytes: () => backend.memory().peakBytes - atRest,
    close: async () => {
      if (last) release(last)
      for (const tensor of Object.values(tensors)) tensor.dispose()
    },
  }
}

/** The backend's own attention. */
export function flashAttention(
  backend: Backend,
  { q, k, v, dout }: AttentionTensors,
  { causal }: AttentionShape,
  backward: boolean,
): TensorResult {
  const { out, lse } = backend.kernels.attentionForward(q, k, v, { causal })
  if (!backward) return { out, lse }
  return { out, lse, gradients: backend.kernels.attentionBackward(dout, q, k, v, out, lse, { causal }) }
}

export function upload(backend: Backend, inputs: AttentionInputs, shape: AttentionShape): AttentionTensors {
  const { batchSize, seqlenQ, seqlenK, nHeads, headDim } = shape
  const tensor = (data: Float32Array, seqlen: number, heads: number) => backend.tensor(data, [batchSize, seqlen, heads, headDim])
  const key = (data: Float32Array) => tensor(data, seqlenK, keyHeads(shape))
  return { q: tensor(inputs.q, seqlenQ, nHeads), k: key(inputs.k), v: key(inputs.v), dout: tensor(inputs.dout, seqlenQ, nHeads) }
}

function release({ out, lse, gradients }: TensorResult): void {
  for (const tensor of [out, lse, gradients?.dq, gradients?.dk, gradients?.dv]) tensor?.dispose()
}
