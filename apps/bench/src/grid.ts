import type { AttentionShape, Pass } from './attention/problem'
import type { BackendName, Contender, ProductContender } from './job'
import { allThreads } from './machine'
import {
  type AttentionFilters,
  attentionContenders,
  type Filters,
  oneThreadInNode,
  type Planned,
  planAttention,
  planDecoding,
  planGemm,
  planOverhead,
  planTraining,
  productContenders,
} from './plan'
import { type Adapter, webgpuContenders } from './webgpu/adapter'
import { planWebGPU } from './webgpu/plan'

// What is measured unless flags say otherwise. The whole of it should take less than half an hour on two cores, so contenders that are many times
// slower than others, and shapes that say little more than their neighbours, are measured at fewer N.

/** Flags of every benchmark; undefined where the grid decides. */
export interface GridFlags {
  readonly backend: readonly (Contender | ProductContender)[] | undefined
  readonly threads: readonly number[] | undefined
  readonly samples: number
  readonly quick: boolean
  readonly cacheFolder: string
}

export interface AttentionGridFlags extends GridFlags {
  readonly seqlen: readonly number[] | undefined
  readonly headDim: readonly number[] | undefined
  readonly mask: readonly ('causal' | 'full')[]
  readonly pass: readonly Pass[]
  readonly heads: number
}

export interface MemoryGridFlags extends GridFlags {
  readonly seqlen: readonly number[] | undefined
}

export interface GemmGridFlags extends GridFlags {
  readonly dModel: number
  readonly context: number
  readonly vocab: number
  readonly filter: string
}

export const defaultAttention = {
  seqlen: undefined,
  headDim: undefined,
  mask: ['causal', 'full'],
  pass: ['forward', 'forward+backward'],
  heads: 8,
} as const
export const defaultGemm = { dModel: 384, context: 2048, vocab: 8192, filter: '' } as const

const decodedKeys = 65536
const smallSeqlens = [16, 64, 128, 256]
const longHead = 8192
/** The longest that standard attention runs: at twice the length its S × S matrices take four times as much. */
const longestStandard = 16384

/** N 512 to 8192; one head alone, which only a split of its rows keeps all threads busy with; short sequences; decoding; the cost of a call. */
export function attentionGrid(flags: AttentionGridFlags): Planned[] {
  const { seqlen, headDim, mask, pass, heads, quick } = flags
  const filters: AttentionFilters = {
    ...common(flags),
    contenders: contendersOf(flags, attentionContenders),
    seqlens: seqlen ?? (quick ? [512, 2048] : [512, 1024, 2048, 4096, 8192]),
    headDims: headDim ?? (quick ? [64] : [64, 128]),
    causal: mask.map((name) => name === 'causal'),
    passes: pass,
    nHeads: heads,
  }
  if (seqlen) return planAttention('attention', filters)
  const many = only(
    filters,
    filters.contenders.filter((name) => !oneThreadInNode.includes(name)),
    {},
  )
  const forward = pass.includes('forward')
  return [
    ...planAttention('attention', many, worthIts(quick)),
    ...planAttention('attention', { ...only(filters, oneThreadInNode, {}), threads: flags.threads ?? [1] }, worthIts(quick)),
    ...(quick ? [] : planAttention('attention', only(filters, ['native'], { nHeads: 1, seqlens: [longHead], headDims: [64] }))),
    ...smallGrid(filters, quick),
    ...(forward ? planDecoding(many, decodedKeys, quick ? [heads] : [heads, Math.max(1, heads / 4)]) : []),
    ...(forward ? planOverhead(filters) : []),
  ]
}

/** Slow contenders where a sample takes a second at most; what computes S × S matrices is compared over N by memoryGrid. */
function worthIts(quick: boolean) {
  return (contender: Contender, { seqlenQ, headDim }: AttentionShape): boolean => {
    if (contender === 'jax-js' || contender === 'tfjs')
      return headDim === 64 && (quick ? seqlenQ === 512 : seqlenQ === 512 || seqlenQ === 2048)
    if (contender === 'standard-wasm') return seqlenQ === 512 && headDim === 64
    if (contender === 'standard-native' || contender === 'ort-web-mha') return seqlenQ === 512 || seqlenQ === 2048
    if (contender === 'wasm') return seqlenQ <= 2048
    return true
  }
}

/** Short sequences, flash beside standard, where tiles save no memory. */
function smallGrid(filters: AttentionFilters, quick: boolean): Planned[] {
  const shape = { seqlens: quick ? [64, 256] : smallSeqlens, headDims: quick ? [64] : [64, 128] }
  const threads = [Math.max(...filters.threads)]
  return (quick ? [8] : [8, 64]).flatMap((nHeads) =>
    planAttention('small', { ...only(filters, ['native', 'standard-native'], { ...shape, nHeads }), threads }),
  )
}

function only(filters: AttentionFilters, names: readonly Contender[], shape: Partial<AttentionFilters>): AttentionFilters {
  return { ...filters, ...shape, contenders: filters.contenders.filter((contender) => names.includes(contender)) }
}

export function gemmGrid(flags: GemmGridFlags): Planned[] {
  const { dModel, context, vocab, quick, filter } = flags
  const contenders = contendersOf(flags, productContenders)
  return planGemm({ ...common(flags), contenders, dModel, context, vocabSize: vocab, filter: quick && filter === '' ? 'square' : filter })
}

export function trainingGrid(flags: GridFlags, profile: boolean): Planned[] {
  const shape = { architecture: 'gpt2', context: 2048, batchSize: 1, dModel: 384, nLayers: 6, nHeads: 6, vocabSize: 256 } as const
  const contenders = contendersOf<BackendName>(flags, flags.quick ? ['native'] : ['native', 'wasm'])
  const native = contenders.filter((name) => name.startsWith('native'))
  const all = [Math.max(...common(flags).threads)]
  const flash = { ...shape, attention: 'flash' } as const
  return [
    ...planTraining({ ...common(flags), contenders: native, profile }, flash),
    ...planTraining(
      { ...common(flags), threads: all, contenders: contenders.filter((name) => !native.includes(name)), profile: false },
      flash,
    ),
    ...(flags.quick
      ? []
      : planTraining({ ...common(flags), threads: all, contenders: native, profile: false }, { ...shape, attention: 'standard' })),
  ]
}

/** One head, so that standard attention fits at N 16,384: the ratios do not depend on how many there are. Then flash alone, causal, which takes half the time. */
export function memoryGrid(flags: MemoryGridFlags): Planned[] {
  const powers = (from: number, to: number) => Array.from({ length: Math.log2(to / from) + 1 }, (_, i) => from * 2 ** i)
  const { seqlen } = flags
  const short = seqlen?.filter((n) => n <= longestStandard) ?? powers(128, flags.quick ? 4096 : longestStandard)
  const long = seqlen?.filter((n) => n >= longestStandard) ?? (flags.quick ? [] : powers(longestStandard, 131072))
  const contenders = contendersOf<Contender>(flags, ['native', 'standard-native'])
  const filters = { ...common(flags), threads: flags.threads ?? [allThreads], headDims: [64], nHeads: 1, passes: defaultAttention.pass }
  const flash = contenders.filter((name) => !name.startsWith('standard'))
  return [
    ...planAttention('memory', { ...filters, contenders, causal: [false], seqlens: short }),
    ...planAttention('memory', { ...filters, contenders: flash, causal: [true], passes: ['forward+backward'], seqlens: long }),
  ]
}

/** Attention on a GPU, beside what else computes it there. */
export function webgpuGrid(flags: AttentionGridFlags, adapter: Adapter | string): Planned[] {
  const { seqlen, headDim, mask, pass, heads, samples, quick, cacheFolder } = flags
  return planWebGPU(
    {
      contenders: contendersOf(flags, webgpuContenders).filter((name) => webgpuContenders.includes(name)),
      seqlens: seqlen,
      headDims: headDim,
      causal: mask.map((name) => name === 'causal'),
      passes: pass,
      nHeads: heads,
      samples,
      quick,
      cacheFolder,
    },
    adapter,
  )
}

function common({ threads, samples, quick, cacheFolder }: GridFlags): Filters {
  return { threads: threads ?? (quick ? [allThreads] : [...new Set([1, allThreads])]), samples, cacheFolder }
}

/** Those of a benchmark that --backend names; instruction sets of ours belong to every benchmark. */
function contendersOf<Name extends Contender | ProductContender>({ backend }: GridFlags, names: readonly Name[]): readonly Name[] {
  return backend === undefined ? names : backend.filter((name): name is Name => name.startsWith('native:') || names.includes(name as Name))
}
