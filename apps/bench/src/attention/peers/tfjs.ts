import type { Tensor4D } from '@tensorflow/tfjs-core'
import type { AttentionInputs, AttentionRunner, AttentionShape } from '../problem'
import { load } from './load'

type Tf = typeof import('@tensorflow/tfjs-core')
type TfWasm = typeof import('@tensorflow/tfjs-backend-wasm')

/** TensorFlow.js has no attention: matmul, softmax, matmul on WebAssembly, as its users write it. Forward only. */
export async function tfjsRunner(inputs: AttentionInputs, shape: AttentionShape, threads: number): Promise<AttentionRunner> {
  const tf = await load<Tf>('@tensorflow/tfjs-core')
  const wasm = await load<TfWasm>('@tensorflow/tfjs-backend-wasm')
  wasm.setThreadsCount(threads)
  if (!(await tf.setBackend('wasm'))) throw new Error('tfjs: backend wasm did not start')
  await tf.ready()
  const { batchSize, seqlenQ, seqlenK, nHeads, headDim, causal } = shape
  const byHead = (data: Float32Array, seqlen: number) =>
    tf.tidy(() => tf.transpose(tf.tensor4d(data, [batchSize, seqlen, nHeads, headDim]), [0, 2, 1, 3]) as Tensor4D)
  const [q, k, v] = [byHead(inputs.q, seqlenQ), byHead(inputs.k, seqlenK), byHead(inputs.v, seqlenK)]
  const mask = causal ? causalBias(tf, seqlenQ, seqlenK) : undefined
  let last: Tensor4D | undefined
  return {
    device: `tfjs ${tf.version_core} wasm`,
    call: () => {
      last?.dispose()
      last = tf.tidy(() => {
        const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(headDim))
        return tf.matMul(tf.softmax(mask ? tf.add(scores, mask) : scores), v) as Tensor4D
      })
    },
    sync: async () => {},
    result: async () => {
      if (!last) throw new Error('attention was not called')
      const out = tf.transpose(last, [0, 2, 1, 3])
      const data = (await out.data()) as Float32Array
      out.dispose()
      return { out: data }
    },
    peakTensorBytes: () => null,
    close: async () => {
      for (const tensor of [q, k, v, mask, last]) tensor?.dispose()
    },
  }
}

/** 0 where the key is visible and −1e9 elsewhere: −∞ makes NaN of 0·∞ in some of its kernels. */
function causalBias(tf: Tf, seqlenQ: number, seqlenK: number) {
  const bias = new Float32Array(seqlenQ * seqlenK)
  for (let i = 0; i < seqlenQ; i++) bias.fill(-1e9, i * seqlenK + i + 1 + seqlenK - seqlenQ, (i + 1) * seqlenK)
  return tf.tensor2d(bias, [seqlenQ, seqlenK])
}
