import type { AttentionForwardOptions, Backend, Tensor } from '@tilegrad/tensor'
import { orDispose } from '../../kernel-case'
import { randomMask } from '../../random-mask'
import type { ConformanceCase } from '../conformance-case'

type MakeOptions = (backend: Backend, seqlen: number) => AttentionForwardOptions

/** What backends may pad smaller ones to. */
const HEAD_DIM = 32

/** Tensors of seqlen·headDim elements that exist at once: q, k, v, dout, out, dq, dk and dv. */
const TENSORS = 8

const SEQLEN = 1024

/**
 * Device memory beyond that of a first call, of half the length, grows by O(S·D): at most by twice what the tensors themselves take, which
 * leaves room for lse, delta and partial sums, or packed copies, and not for one S×S array of bytes.
 */
export function memoryCases(): ConformanceCase[] {
  return Object.entries(OPTIONS).map(([name, options]) => ({
    group: 'attention memory',
    name: `is O(S·D) with ${name}`,
    run: (backend) => checkMemory(backend, SEQLEN, options),
  }))
}

/** Bytes of options themselves, such as a bias, are held before and after. */
const OPTIONS: Readonly<Record<string, MakeOptions>> = {
  causality: () => ({ causal: true }),
  'a window, softcap, ALiBi and a sink': (backend) => ({
    windowSize: [100, 30],
    softcap: 5,
    alibiSlopes: backend.tensor([0.1], [1]),
    sink: backend.tensor([1], [1]),
  }),
  'a bias of keys': (backend, seqlen) => ({ bias: backend.zeros([seqlen]) }),
  dropout: () => ({ dropoutP: 0.1, seed: 1 }),
  'variable lengths': (_, seqlen) => {
    const cuSeqlens = Int32Array.of(0, 1, seqlen / 2, seqlen)
    return { cuSeqlensQ: cuSeqlens, cuSeqlensK: cuSeqlens, causal: true }
  },
  'probabilities that are asked for': () => ({ saveProbabilities: true }),
  'a block mask': (_, seqlen) => ({
    blockMask: randomMask({ seed: 1, blockM: 64, blockN: 64, full: 0.3, partial: 0.3, kinds: 2 }, 1, 1, seqlen, seqlen),
  }),
}

async function checkMemory(backend: Backend, seqlen: number, makeOptions: MakeOptions): Promise<void> {
  const bytes = backend.memory().bytes
  // The first call brings what is kept for the next ones, whatever their length.
  const half = await peakBytes(backend, seqlen / 2, makeOptions)
  const whole = await peakBytes(backend, seqlen, makeOptions)
  const grown = whole - half
  const allowed = 2 * TENSORS * (seqlen / 2) * HEAD_DIM * Float32Array.BYTES_PER_ELEMENT
  if (grown > allowed) throw new Error(`${grown} bytes more for ${seqlen / 2} rows more, instead of at most ${allowed}`)
  const left = backend.memory().bytes - bytes
  if (left !== 0) throw new Error(`${left} bytes are still held after every tensor was disposed`)
}

/** The most that a forward and a backward pass hold at once, their inputs included. */
async function peakBytes(backend: Backend, seqlen: number, makeOptions: MakeOptions): Promise<number> {
  const options = makeOptions(backend, seqlen)
  const packed = options.cuSeqlensQ !== undefined
  const data = Float32Array.from({ length: seqlen * HEAD_DIM }, (_, i) => Math.sin(i * i))
  const input = () => backend.tensor(data, packed ? [seqlen, 1, HEAD_DIM] : [1, seqlen, 1, HEAD_DIM])
  const [q, k, v, dout] = [input(), input(), input(), input()] as const
  await backend.sync()
  backend.resetPeakMemory()
  const inputs = [q, k, v, dout, options.alibiSlopes, options.bias, options.sink].filter((tensor) => tensor !== undefined)
  const results = orDispose(inputs, () => backend.kernels.attentionForward(q, k, v, options))
  const { saveProbabilities, ...backwardOptions } = options
  const { out, lse, ...probabilities } = results
  const gradients = orDispose([...inputs, ...Object.values<Tensor>({ ...results })], () =>
    backend.kernels.attentionBackward(dout, q, k, v, out, lse, { ...backwardOptions, ...probabilities }),
  )
  await backend.sync()
  const { peakBytes } = backend.memory()
  for (const tensor of [...inputs, ...Object.values<Tensor>({ ...results, ...gradients })]) tensor.dispose()
  await backend.sync()
  return peakBytes
}
