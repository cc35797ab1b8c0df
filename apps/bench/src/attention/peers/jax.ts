import type { Array as JaxArray } from '@jax-js/jax'
import type { AttentionInputs, AttentionRunner, AttentionShape } from '../problem'
import { load } from './load'
import { provideWebGPU } from './page-webgpu'
import { provideWorkers } from './page-worker'

type Jax = typeof import('@jax-js/jax')

/** jax-js on WebAssembly: jax.nn.dotProductAttention, compiled by jit, and its gradient by vjp. */
export async function jaxRunner(
  inputs: AttentionInputs,
  shape: AttentionShape,
  backward: boolean,
  threads: number,
): Promise<AttentionRunner> {
  // Without a page's workers it runs in the caller's thread.
  if (threads > 1) provideWorkers(threads)
  const jax = await start('wasm')
  const runner = attentionOf(jax, `jax-js wasm, ${threads} ${threads === 1 ? 'thread' : 'threads'}`, inputs, shape, backward)
  return {
    ...runner,
    call: async () => {
      runner.call()
      await runner.sync()
    },
    sync: async () => {},
  }
}

/** The same on WebGPU. */
export async function jaxWebGPURunner(inputs: AttentionInputs, shape: AttentionShape, backward: boolean): Promise<AttentionRunner> {
  const adapter = await provideWebGPU()
  return attentionOf(await start('webgpu'), `jax-js webgpu: ${adapter}`, inputs, shape, backward)
}

async function start(device: 'wasm' | 'webgpu'): Promise<Jax> {
  const jax = await load<Jax>('@jax-js/jax')
  if (!(await jax.init(device)).includes(device)) throw new Error(`jax-js: backend ${device} did not start`)
  jax.defaultDevice(device)
  return jax
}

function attentionOf(jax: Jax, device: string, inputs: AttentionInputs, shape: AttentionShape, backward: boolean): AttentionRunner {
  const { batchSize, seqlenQ, seqlenK, nHeads, headDim } = shape
  const array = (data: Float32Array<ArrayBuffer>, seqlen: number) =>
    jax.numpy.array(data, { shape: [batchSize, seqlen, nHeads, headDim], dtype: jax.numpy.float32 })
  const host = inputs as Record<keyof AttentionInputs, Float32Array<ArrayBuffer>>
  const [q, k, v] = [array(host.q, seqlenQ), array(host.k, seqlenK), array(host.v, seqlenK)]
  const dout = array(host.dout, seqlenQ)
  const attention = (a: JaxArray, b: JaxArray, c: JaxArray) => jax.nn.dotProductAttention(a, b, c, { isCausal: shape.causal })
  const forward = jax.jit(attention)
  const both = jax.jit((a: JaxArray, b: JaxArray, c: JaxArray, d: JaxArray) => {
    const [out, pullback] = jax.vjp(attention, [a, b, c])
    return [out, ...(pullback(d) as JaxArray[])]
  })
  let last: JaxArray[] = []
  return {
    device,
    call: () => {
      for (const result of last) result.dispose()
      // Arrays are consumed by what they go into; .ref keeps them.
      last = backward ? (both(q.ref, k.ref, v.ref, dout.ref) as JaxArray[]) : [forward(q.ref, k.ref, v.ref) as JaxArray]
    },
    sync: async () => {
      await jax.blockUntilReady(last)
    },
    result: async () => {
      const data: Float32Array[] = []
      for (const result of last) data.push((await result.ref.data()) as Float32Array)
      const [out, dq, dk, dv] = data
      if (!out) throw new Error('attention was not called')
      return { out, gradients: dq && dk && dv ? { dq, dk, dv } : undefined }
    },
    peakTensorBytes: () => null,
    close: async () => {},
  }
}
