import type { AttentionShape, Pass } from '../attention/problem'
import { type Contender, deviceThreads } from '../job'
import { type AttentionFilters, attentionRow, type Planned, planAttention } from '../plan'
import { type Adapter, lackOf } from './adapter'

export interface WebGPUFilters {
  readonly contenders: readonly Contender[]
  /** Those of `defaultWebGPU` for the adapter unless given; then every contender runs them all. */
  readonly seqlens: readonly number[] | undefined
  readonly headDims: readonly number[] | undefined
  readonly causal: readonly boolean[]
  readonly passes: readonly Pass[]
  readonly nHeads: number
  readonly samples: number
  readonly quick: boolean
  readonly cacheFolder: string
}

export const defaultWebGPU = {
  seqlen: undefined,
  headDim: undefined,
  mask: ['full', 'causal'],
  pass: ['forward', 'backward', 'forward+backward'],
  heads: 8,
} as const

const softwareSeqlens = [512, 1024, 2048, 4096]
const gpuSeqlens = [512, 1024, 2048, 4096, 8192, 16384]
const [quickSeqlens, quickHeadDims] = [[512, 2048], [64]]
/** Sequences of a batch that are short: so many at once, as in training. */
const [smallSeqlens, smallBatchSize] = [[64, 128, 256], 4]

/** Attention over N on the adapter that there is; short sequences in a batch; the cost of a call. What cannot run here has one row, which says why. */
export function planWebGPU(filters: WebGPUFilters, adapter: Adapter | string): Planned[] {
  const { contenders, seqlens, headDims, quick } = filters
  const software = typeof adapter === 'string' || adapter.software
  const all = { ...filters, threads: [deviceThreads], contenders: contenders.filter((name) => lackOf(adapter, name) === null) }
  const long = {
    ...all,
    seqlens: seqlens ?? (quick ? quickSeqlens : software ? softwareSeqlens : gpuSeqlens),
    headDims: headDims ?? (quick ? quickHeadDims : [64, 128]),
  }
  const rows = planAttention('webgpu', long, seqlens || !software ? undefined : worthIt)
  return [...missing(all, contenders, adapter), ...rows, ...(seqlens ? [] : planSmall(all))]
}

/** Where the processor does the work, contenders that take many times longer are measured where a call takes seconds at most, and only without a mask. */
function worthIt(contender: Contender, { seqlenQ, headDim, causal }: AttentionShape, pass: Pass): boolean {
  if (contender.startsWith('webgpu')) return true
  if (causal) return false
  if (contender === 'standard-webgpu') return seqlenQ <= 2048 || pass === 'forward'
  return headDim === 64 && (seqlenQ <= 2048 || pass === 'forward')
}

/** Time of a call in a queue of them, and what enqueueing it takes. */
function planSmall(filters: Omit<AttentionFilters, 'seqlens' | 'headDims'>): Planned[] {
  const small = { ...filters, seqlens: smallSeqlens, headDims: [64], batchSize: smallBatchSize, causal: [false] }
  const passes = filters.passes.filter((pass) => pass !== 'backward')
  const shapes = smallSeqlens.map((seqlen) => ({
    batchSize: smallBatchSize,
    seqlenQ: seqlen,
    seqlenK: seqlen,
    nHeads: filters.nHeads,
    headDim: 64,
    causal: false,
  }))
  const ours = filters.contenders.filter((name) => name === 'webgpu')
  return [
    ...planAttention('webgpu-small', { ...small, passes }),
    ...passes.flatMap((pass) =>
      shapes.flatMap((shape) => ours.map((name) => attentionRow('webgpu-small', filters, name, shape, pass, deviceThreads, 'enqueued'))),
    ),
  ]
}

function missing(
  filters: Omit<AttentionFilters, 'seqlens' | 'headDims'>,
  contenders: readonly Contender[],
  adapter: Adapter | string,
): Planned[] {
  const shape = {
    batchSize: 1,
    seqlenQ: quickSeqlens[0] as number,
    seqlenK: quickSeqlens[0] as number,
    nHeads: filters.nHeads,
    headDim: 64,
    causal: false,
  }
  return contenders.flatMap((name) => {
    const lack = lackOf(adapter, name)
    return lack === null ? [] : [{ ...attentionRow('webgpu', filters, name, shape, 'forward', deviceThreads), impossible: lack }]
  })
}
