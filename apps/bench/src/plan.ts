import { totalmem } from 'node:os'
import type { AttentionShape, Pass } from './attention/problem'
import { standardBytes } from './attention/standard'
import { type GemmSizes, gemmShapes } from './gemm'
import type { BackendName, Contender, MeasurementJob } from './job'
import { peers } from './job'
import type { Subject } from './results'
import type { TrainingShapeOptions } from './training'

/** A row to be: what it is called and the job that measures it, or why it cannot be measured. */
export interface Planned {
  readonly subject: Subject
  readonly job: MeasurementJob
  readonly impossible: string | null
}

/** What all benchmarks are filtered by. */
export interface Filters {
  readonly threads: readonly number[]
  readonly samples: number
  readonly cacheFolder: string
}

export interface AttentionFilters extends Filters {
  readonly contenders: readonly Contender[]
  readonly seqlens: readonly number[]
  readonly headDims: readonly number[]
  readonly causal: readonly boolean[]
  readonly passes: readonly Pass[]
  readonly batchSize: number
  readonly nHeads: number
}

export const attentionContenders: readonly Contender[] = ['native', 'standard-native', 'wasm', 'standard-wasm', ...peers]

/** Rows of one shape stand together, contender below contender. */
export function planAttention(benchmark: string, filters: AttentionFilters): Planned[] {
  const rows: Planned[] = []
  for (const threads of filters.threads) {
    for (const headDim of filters.headDims) {
      for (const causal of filters.causal) {
        for (const pass of filters.passes) {
          for (const seqlen of filters.seqlens) {
            const { batchSize, nHeads } = filters
            const shape = { batchSize, seqlenQ: seqlen, seqlenK: seqlen, nHeads, headDim, causal }
            for (const contender of filters.contenders) {
              if (takesPart(contender, pass, causal, threads)) rows.push(attentionRow(benchmark, filters, contender, shape, pass, threads))
            }
          }
        }
      }
    }
  }
  return rows
}

/** One query against many keys, as when decoding: bound by memory. */
export function planDecoding(filters: AttentionFilters, seqlenK: number): Planned[] {
  const contenders = filters.contenders.filter((contender) => /^(native|wasm)/.test(contender))
  return filters.threads.flatMap((threads) =>
    contenders.map((contender) => {
      const shape = { batchSize: 1, seqlenQ: 1, seqlenK, nHeads: filters.nHeads, headDim: 64, causal: true }
      return attentionRow('attention', filters, contender, shape, 'forward', threads)
    }),
  )
}

function attentionRow(
  benchmark: string,
  { samples, cacheFolder }: Filters,
  contender: Contender,
  shape: AttentionShape,
  pass: Pass,
  threads: number,
): Planned {
  const { seqlenQ, seqlenK, headDim, causal } = shape
  const lengths = seqlenQ === seqlenK ? `N ${seqlenQ}` : `Sq ${seqlenQ} Sk ${seqlenK}`
  const name = `${pass} ${lengths} D ${headDim} ${causal ? 'causal' : 'full'}`
  return {
    subject: { benchmark, name, contender, threads, parameters: { pass, ...shape } },
    job: { kind: 'attention', contender, pass, shape, threads, samples, cacheFolder },
    impossible: tooLarge(contender, shape, pass),
  }
}

/** Peers have no gradient but jax-js's, which runs on one thread; GroupQueryAttention is causal by definition. */
function takesPart(contender: Contender, pass: Pass, causal: boolean, threads: number): boolean {
  switch (contender) {
    case 'jax-js':
      return threads === 1
    case 'ort-node-gqa':
      return causal && pass === 'forward'
    case 'ort-node-mha':
    case 'ort-web-mha':
    case 'tfjs':
      return pass === 'forward'
    default:
      return true
  }
}

const wasmBytes = 2 ** 32

function tooLarge(contender: Contender, shape: AttentionShape, pass: Pass): string | null {
  const quadratic = contender.startsWith('standard') || contender === 'jax-js' || contender === 'tfjs'
  if (!quadratic) return null
  const ours = contender.startsWith('standard')
  // jax-js and tfjs hold scores and weights; our standard attention works in place.
  const bytes = standardBytes(shape, pass === 'forward+backward') * (ours ? 1 : 2)
  const limit = contender === 'standard-native' ? totalmem() / 2 : wasmBytes / 2
  return bytes < limit ? null : `its S × S matrices take ${(bytes / 2 ** 30).toFixed(0)} GiB`
}

export function planGemm(filters: Filters & GemmSizes & { contenders: readonly BackendName[]; filter: string }): Planned[] {
  const { threads: counts, contenders, samples, filter } = filters
  const shapes = gemmShapes(filters).filter(({ name }) => name.includes(filter))
  return counts.flatMap((threads) =>
    shapes.flatMap((shape) =>
      contenders.map((contender) => {
        const { name, m, n, k, transposeA = false, transposeB = false } = shape
        const parameters = { m, n, k, transposeA, transposeB }
        return {
          subject: { benchmark: 'gemm', name: `${name} ${m}×${n}×${k}`, contender, threads, parameters },
          job: { kind: 'gemm' as const, contender, shape, threads, samples },
          impossible: null,
        }
      }),
    ),
  )
}

export function planTraining(filters: Filters & { contenders: readonly BackendName[] }, options: TrainingShapeOptions): Planned[] {
  const { architecture, batchSize, context, dModel, nLayers, vocabSize, attention } = options
  const name = `${architecture} T ${batchSize}×${context} d ${dModel} L ${nLayers} V ${vocabSize} ${attention}`
  return filters.threads.flatMap((threads) =>
    filters.contenders.map((contender) => ({
      subject: { benchmark: 'train', name, contender, threads, parameters: { ...options } },
      job: { kind: 'train' as const, contender, options, threads, samples: filters.samples },
      impossible: null,
    })),
  )
}
