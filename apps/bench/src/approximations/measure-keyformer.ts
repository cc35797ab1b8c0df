import { type CpuBackend, createCpuBackend } from '@tilegrad/kernels-cpu'
import type { Tensor } from '@tilegrad/tensor'
import { type BackendName, backendOptions } from '../job'
import { processMemory, resetPeakMemory } from '../memory'
import { randomNormal } from '../random'
import type { Measurement } from '../results'
import { time } from '../timing'
import { checkDecoded, checkScores } from './check-keyformer'
import { KeyformerCache } from './keyformer'

/** Decoding after a prompt of `seqlen` tokens, one layer: exact (`cacheShare` null), or with Keyformer's cache of that share of the prompt. */
export interface KeyformerJob extends DecodingShape {
  readonly kind: 'keyformer'
  readonly contender: BackendName
  readonly cacheShare: number | null
  readonly threads: number
  readonly samples: number
}

interface DecodingShape {
  readonly seqlen: number
  readonly nHeads: number
  readonly headDim: number
  /** Standard deviation of the logits. */
  readonly logitScale: number
  /** Correlation between queries, 0 ≤ c < 1: with none, no key is important to more than one query by more than chance. */
  readonly correlation: number
}

/** Tokens decoded before the error is known, and what the temperature rises over. */
const generatedTokens = 64
/** Within the 20 to 30 % that the paper recommends. */
const recentShare = 0.25
const noiseSeed = 9

interface Tokens {
  readonly q: Float32Array
  readonly k: Float32Array
  readonly v: Float32Array
}

export async function measureKeyformer(job: KeyformerJob): Promise<Measurement> {
  const { contender, threads, cacheShare } = job
  const backend = await createCpuBackend(backendOptions(contender, threads))
  const measured = await (cacheShare === null ? measureExact(backend, job) : measureReduced(backend, job, cacheShare))
  await backend.dispose()
  // Each key and value that is attended to is read at least once.
  const kept = cacheShare === null ? job.seqlen + 1 : cacheSizeOf(job.seqlen, cacheShare) + 1
  return { device: backend.info.driver, flops: null, bytes: 2 * 4 * kept * job.nHeads * job.headDim, ...measured }
}

type Measured = Pick<Measurement, 'checks' | 'timing' | 'memory' | 'relativeError'>

/** The token that is decoded takes the place after the prompt, again and again. */
async function measureExact(backend: CpuBackend, job: KeyformerJob): Promise<Measured> {
  const { seqlen, threads, samples } = job
  const shape = [1, seqlen + 1, job.nHeads, job.headDim] as const
  const host = tokensOf(job, seqlen + 1)
  const [k, v] = [backend.tensor(host.k, shape), backend.tensor(host.v, shape)]
  const token = upload(backend, job, host, seqlen, seqlen + 1)
  const place = (x: Tensor) => x.slice([0, seqlen, 0, 0], [1, seqlen + 1, job.nHeads, job.headDim])
  resetPeakMemory()
  const before = processMemory().bytes
  const atRest = backend.memory().bytes
  backend.resetPeakMemory()
  let out: Tensor | undefined
  const call = () => {
    out?.dispose()
    out = backend.scope(() => {
      backend.kernels.copy(token.k, { out: place(k) })
      backend.kernels.copy(token.v, { out: place(v) })
      return backend.kernels.attentionForward(token.q, k, v).out
    })
  }
  const timing = await time({ call, sync: () => backend.sync() }, { samples, threads, until: 'answered' })
  const memory = { processBytes: Math.max(0, processMemory().peakBytes - before), tensorBytes: backend.memory().peakBytes - atRest }
  const actual = await (out as unknown as Tensor).read()
  return { timing, memory, checks: [checkDecoded(job, await token.q.read(), host.k, host.v, seqlen + 1, actual)], relativeError: 0 }
}

async function measureReduced(backend: CpuBackend, job: KeyformerJob, cacheShare: number): Promise<Measured> {
  const { seqlen, nHeads, headDim, threads, samples } = job
  const cacheSize = cacheSizeOf(seqlen, cacheShare)
  const recentWindow = Math.max(1, Math.round(recentShare * cacheSize))
  const host = tokensOf(job, seqlen + generatedTokens)
  const cache = new KeyformerCache(backend, { nHeads, headDim, cacheSize, recentWindow, generatedTokens, seed: noiseSeed })
  const prompt = upload(backend, job, host, 0, seqlen)
  ;(await cache.prompt(prompt.q, prompt.k, prompt.v)).dispose()
  const relativeError = await errorOf(backend, job, cache, host)
  for (const tensor of [prompt.q, prompt.k, prompt.v]) tensor.dispose()

  const steps = Array.from({ length: generatedTokens }, (_, t) => upload(backend, job, host, seqlen + t, seqlen + t + 1))
  resetPeakMemory()
  const before = processMemory().bytes
  const atRest = backend.memory().bytes
  backend.resetPeakMemory()
  let [next, out]: [number, Tensor | undefined] = [0, undefined]
  const call = async () => {
    const { q, k, v } = steps[next++ % steps.length] as (typeof steps)[number]
    out?.dispose()
    out = await cache.decode(q, k, v)
  }
  const timing = await time({ call, sync: () => backend.sync() }, { samples, threads, until: 'answered' })
  const memory = { processBytes: Math.max(0, processMemory().peakBytes - before), tensorBytes: backend.memory().peakBytes - atRest }
  const last = steps[(next - 1) % steps.length] as (typeof steps)[number]
  const actual = await (out as unknown as Tensor).read()
  // The slot that has become free still holds what the step attended to.
  const { k, v } = cache.state()
  const decoded = checkDecoded(job, await last.q.read(), await k.read(), await v.read(), cacheSize + 1, actual)
  const checks = [decoded, await checkScores(cache, steps[0] as (typeof steps)[number], noiseSeed, job)]
  return { timing, memory, checks, relativeError }
}

/** ‖out − exact‖/‖exact‖ over all tokens that are generated, with what the exact cache would hold by then. */
async function errorOf(backend: CpuBackend, job: KeyformerJob, cache: KeyformerCache, host: Tokens): Promise<number> {
  const { seqlen } = job
  const all = upload(backend, job, host, 0, seqlen + generatedTokens)
  let [difference, norm] = [0, 0]
  for (let token = seqlen; token < seqlen + generatedTokens; token++) {
    const { q, k, v } = upload(backend, job, host, token, token + 1)
    const upTo = (x: Tensor) => x.slice([0, 0, 0, 0], [1, token + 1, job.nHeads, job.headDim])
    const exact = backend.scope(() => backend.kernels.attentionForward(q, upTo(all.k), upTo(all.v)).out)
    const reduced = await cache.decode(q, k, v)
    const [expected, actual] = [await exact.read(), await reduced.read()]
    for (const [i, x] of expected.entries()) {
      difference += ((actual[i] as number) - x) ** 2
      norm += x ** 2
    }
    for (const tensor of [q, k, v, exact, reduced]) tensor.dispose()
  }
  for (const tensor of [all.q, all.k, all.v]) tensor.dispose()
  return Math.sqrt(difference / norm)
}

export function cacheSizeOf(seqlen: number, cacheShare: number): number {
  return Math.round(seqlen * cacheShare)
}

/** Queries are √c·u + √(1 − c)·noise for one direction u a head, times the logit scale; keys and values are noise. */
function tokensOf({ nHeads, headDim, logitScale, correlation }: DecodingShape, length: number): Tokens {
  const row = nHeads * headDim
  const [noise, shared] = [randomNormal(length * row, 1), randomNormal(row, 11)]
  const [ofNoise, ofShared] = [Math.sqrt(1 - correlation), Math.sqrt(correlation)]
  const q = noise.map((x, i) => logitScale * (ofNoise * x + ofShared * (shared[i % row] as number)))
  return { q, k: randomNormal(length * row, 2), v: randomNormal(length * row, 3) }
}

function upload(backend: CpuBackend, { nHeads, headDim }: DecodingShape, tokens: Tokens, begin: number, end: number) {
  const row = nHeads * headDim
  const part = (x: Float32Array) => backend.tensor(x.subarray(begin * row, end * row), [1, end - begin, nHeads, headDim])
  return { q: part(tokens.q), k: part(tokens.k), v: part(tokens.v) }
}
