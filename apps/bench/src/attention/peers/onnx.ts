import type { InferenceSession, Tensor, TypedTensor } from 'onnxruntime-common'
import type { AttentionInputs, AttentionRunner, AttentionShape } from '../problem'
import { load } from './load'
import { type OnnxOperator, onnxModel } from './onnx-model'

interface Onnx {
  readonly InferenceSession: typeof InferenceSession
  readonly Tensor: typeof Tensor
  readonly env: { versions: { node?: string; web?: string }; wasm: { numThreads?: number } }
}

/** onnxruntime's fused attention operators: forward only. */
export async function onnxRunner(
  runtime: 'node' | 'web',
  operator: OnnxOperator,
  inputs: AttentionInputs,
  shape: AttentionShape,
  threads: number,
): Promise<AttentionRunner> {
  const ort = await load<Onnx>(runtime === 'node' ? 'onnxruntime-node' : 'onnxruntime-web/wasm')
  if (runtime === 'web') ort.env.wasm.numThreads = threads
  const { batchSize, seqlenQ, seqlenK, nHeads, headDim } = shape
  const session = await ort.InferenceSession.create(onnxModel(operator, shape), {
    executionProviders: [runtime === 'node' ? 'cpu' : 'wasm'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
  })
  const tensor = (data: Float32Array, seqlen: number) => new ort.Tensor('float32', data, [batchSize, seqlen, nHeads * headDim])
  const feeds: Record<string, Tensor> = { q: tensor(inputs.q, seqlenQ), k: tensor(inputs.k, seqlenK), v: tensor(inputs.v, seqlenK) }
  if (operator === 'GroupQueryAttention') {
    feeds.seqlens_k = new ort.Tensor('int32', new Int32Array(batchSize).fill(seqlenK - 1), [batchSize])
    feeds.total_sequence_length = new ort.Tensor('int32', Int32Array.of(seqlenK), [1])
  }
  let last: TypedTensor<'float32'> | undefined
  return {
    device: `onnxruntime-${runtime} ${ort.env.versions[runtime] ?? ''} ${operator}`,
    call: async () => {
      last = (await session.run(feeds)).out as TypedTensor<'float32'>
    },
    sync: async () => {},
    result: async () => {
      if (!last) throw new Error('attention was not called')
      return { out: last.data }
    },
    peakTensorBytes: () => null,
    close: () => session.release(),
  }
}
