import { f16BitsToF32Array, f32ArrayToF16Bits } from '@tilegrad/core-math'
import type { AttentionForwardResult, Backend, Tensor, TypedArray } from '@tilegrad/tensor'
import type { ElementType } from '../check'
import { type AttentionInputs, type AttentionRunner, type AttentionShape, keyHeads, type Pass } from './problem'
import { standardAttention } from './standard'

export type AttentionTensors = { readonly [name in keyof AttentionInputs]: Tensor }

/** Results of an attention of our own, on its backend. */
export interface TensorResult {
  readonly out: Tensor
  readonly lse?: Tensor
  readonly probabilities?: Tensor
  readonly gradients?: { readonly dq: Tensor; readonly dk: Tensor; readonly dv: Tensor }
}

/** Our attention, or the standard one on the same kernels, which has no backward pass of its own. */
export function tilegradRunner(
  backend: Backend,
  algorithm: 'flash' | 'standard',
  inputs: AttentionInputs,
  shape: AttentionShape,
  pass: Pass,
  type: ElementType = 'f32',
): AttentionRunner {
  const tensors = upload(backend, inputs, shape, type)
  const attention = algorithm === 'flash' ? flashAttention : standardAttention
  const forward = pass === 'backward' ? flashForward(backend, tensors, shape, true) : undefined
  let last: TensorResult | undefined
  const atRest = backend.memory().bytes
  backend.resetPeakMemory()
  return {
    device: backend.info.name === 'webgpu' ? `${backend.info.driver}: ${backend.info.device}` : backend.info.driver,
    call: () => {
      if (last) release(forward ? { out: undefined, gradients: last.gradients } : last)
      last = forward ? withGradients(backend, tensors, shape, forward) : attention(backend, tensors, shape, pass !== 'forward')
    },
    sync: () => backend.sync(),
    result: async () => {
      if (!last) throw new Error('attention was not called')
      const { out, lse, gradients } = last
      const [dq, dk, dv] = [await values(gradients?.dq), await values(gradients?.dk), await values(gradients?.dv)]
      return { out: (await values(out)) as TypedArray, lse: await values(lse), gradients: dq && dk && dv ? { dq, dk, dv } : undefined }
    },
    peakTensorBytes: () => backend.memory().peakBytes - atRest,
    close: async () => {
      if (last) release(last)
      for (const tensor of Object.values(tensors)) tensor.dispose()
    },
  }
}

/** The backend's own attention; the backward pass gets what a training step would save for it. */
export function flashAttention(backend: Backend, tensors: AttentionTensors, shape: AttentionShape, backward: boolean): TensorResult {
  const forward = flashForward(backend, tensors, shape, backward)
  return backward ? withGradients(backend, tensors, shape, forward) : forward
}

function flashForward(
  { kernels }: Backend,
  { q, k, v }: AttentionTensors,
  { causal }: AttentionShape,
  saveProbabilities: boolean,
): AttentionForwardResult {
  return kernels.attentionForward(q, k, v, { causal, saveProbabilities })
}

function withGradients(
  { kernels }: Backend,
  { q, k, v, dout }: AttentionTensors,
  { causal }: AttentionShape,
  forward: AttentionForwardResult,
): TensorResult {
  const { out, lse, probabilities } = forward
  const options = { causal, ...(probabilities && { probabilities }) }
  return { ...forward, gradients: kernels.attentionBackward(dout, q, k, v, out, lse, options) }
}

export function upload(backend: Backend, inputs: AttentionInputs, shape: AttentionShape, type: ElementType = 'f32'): AttentionTensors {
  const { batchSize, seqlenQ, seqlenK, nHeads, headDim } = shape
  const tensor = (data: Float32Array, seqlen: number, heads: number) =>
    backend.tensor(type === 'f16' ? f32ArrayToF16Bits(data) : data, [batchSize, seqlen, heads, headDim], type)
  const key = (data: Float32Array) => tensor(data, seqlenK, keyHeads(shape))
  return { q: tensor(inputs.q, seqlenQ, nHeads), k: key(inputs.k), v: key(inputs.v), dout: tensor(inputs.dout, seqlenQ, nHeads) }
}

async function values(tensor: Tensor | undefined): Promise<TypedArray | undefined> {
  const data = await tensor?.read()
  return tensor?.dtype === 'f16' ? f16BitsToF32Array(data as Uint16Array) : data
}

function release({ out, lse, probabilities, gradients }: { [name in keyof TensorResult]: TensorResult[name] | undefined }): void {
  for (const tensor of [out, lse, probabilities, gradients?.dq, gradients?.dk, gradients?.dv]) tensor?.dispose()
}
