import type { InferenceSession, Tensor, TypedTensor } from 'onnxruntime-common'
import { powerPreference } from '../../webgpu/backend'
import type { AttentionInputs, AttentionRunner, AttentionShape } from '../problem'
import { load } from './load'
import { type OnnxOperator, onnxModel } from './onnx-model'
import { provideWebGPU } from './page-webgpu'

interface Onnx {
  readonly InferenceSession: typeof InferenceSession
  readonly Tensor: typeof Tensor
  readonly env: {
    versions: { node?: string; web?: string }
    wasm: { numThreads?: number }
    webgpu: { powerPreference?: string; device: Promise<GPUDevice> }
  }
}

type Inputs = Pick<AttentionInputs, 'q' | 'k' | 'v'>

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
  const { batchSize, seqlenK } = shape
  const session = await ort.InferenceSession.create(onnxModel(operator, shape), {
    executionProviders: [runtime === 'node' ? 'cpu' : 'wasm'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
  })
  const feeds: Record<string, Tensor> = feedsOf(inputs, shape, (data, dims) => new ort.Tensor('float32', data, dims))
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

/** MultiHeadAttention on WebGPU, with inputs and result in the device's memory. */
export async function onnxWebGPURunner(inputs: AttentionInputs, shape: AttentionShape): Promise<AttentionRunner> {
  const adapter = await provideWebGPU()
  const ort = await load<Onnx>('onnxruntime-web/webgpu')
  ort.env.wasm.numThreads = 1
  ort.env.webgpu.powerPreference = powerPreference
  const session = await ort.InferenceSession.create(onnxModel('MultiHeadAttention', shape), {
    executionProviders: ['webgpu'],
    preferredOutputLocation: 'gpu-buffer',
    graphOptimizationLevel: 'all',
  })
  const device = await ort.env.webgpu.device
  const feeds = feedsOf(inputs, shape, (data, dims) => {
    const gpuBuffer = device.createBuffer({
      size: data.byteLength,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    })
    device.queue.writeBuffer(gpuBuffer, 0, data as Float32Array<ArrayBuffer>)
    return ort.Tensor.fromGpuBuffer(gpuBuffer, { dataType: 'float32', dims: [...dims] })
  })
  let last: Tensor | undefined
  return {
    device: `onnxruntime-web ${ort.env.versions.web ?? ''} webgpu MultiHeadAttention: ${adapter}`,
    call: async () => {
      last?.dispose()
      last = (await session.run(feeds)).out
    },
    sync: () => device.queue.onSubmittedWorkDone().then(() => {}),
    result: async () => {
      if (!last) throw new Error('attention was not called')
      return { out: (await last.getData()) as Float32Array }
    },
    peakTensorBytes: () => null,
    close: () => session.release(),
  }
}

function feedsOf<T>(
  { q, k, v }: Inputs,
  { batchSize, seqlenQ, seqlenK, nHeads, headDim }: AttentionShape,
  tensor: (data: Float32Array, dims: readonly number[]) => T,
): Record<string, T> {
  const hidden = nHeads * headDim
  return {
    q: tensor(q, [batchSize, seqlenQ, hidden]),
    k: tensor(k, [batchSize, seqlenK, hidden]),
    v: tensor(v, [batchSize, seqlenK, hidden]),
  }
}
