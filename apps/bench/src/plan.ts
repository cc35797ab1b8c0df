import { totalmem } from 'node:os'
import { type AttentionShape, keyHeads, type Pass } from './attention/problem'
import { standardBytes } from './attention/standard'
import { type GemmSizes, gemmShapes } from './gemm'
import type { BackendName, Contender, MeasurementJob, ProductContender, Until } from './job'
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
  readonly nHeads: number
  /** 1 unless given. */
  readonly batchSize?: number
}

export const attentionContenders: readonly Contender[] = ['native', 'standard-native', 'wasm', 'standard-wasm', ...peers]
export const productContenders: readonly ProductContender[] = ['native', 'wasm', 'openblas']

/**
 * Rows of one shape stand together, contender below contender. `takes` leaves out what would cost more than it tells.
 */
export function planAttention(
  benchmark: string,
  filters: AttentionFilters,
  takes: (contender: Contender, shape: AttentionShape, pass: Pass) => boolean = () => true,
): Planned[] {
  const { threads: counts, headDims, causal: masks, passes, seqlens, contenders, nHeads, batchSize = 1 } = filters
  return counts.flatMap((threads) =>
    headDims.flatMap((headDim) =>
      masks.flatMap((causal) =>
        passes.flatMap((pass) =>
          seqlens.flatMap((seqlen) => {
            const shape = { batchSize, seqlenQ: seqlen, seqlenK: seqlen, nHeads, headDim, causal }
            return contenders
              .filter((contender) => canCompute(contender, pass, shape) && takes(contender, shape, pass))
              .map((contender) => attentionRow(benchmark, filters, contender, shape, pass, threads))
          }),
        ),
      ),
    ),
  )
}

/** One query against many keys, as when decoding: bound by memory. */
export function planDecoding(filters: AttentionFilters, seqlenK: number, nHeadsK: readonly number[]): Planned[] {
  const { threads: counts, contenders, nHeads } = filters
  return counts.flatMap((threads) =>
    nHeadsK.flatMap((heads) => {
      const shape = { batchSize: 1, seqlenQ: 1, seqlenK, nHeads, nHeadsK: heads, headDim: 64, causal: false }
      return contenders
        .filter((contender) => /^(native|wasm|ort-)/.test(contender) && canCompute(contender, 'forward', shape))
        .map((contender) => attentionRow('decoding', filters, contender, shape, 'forward', threads))
    }),
  )
}

/** What a call costs that computes next to nothing: until it returns, and until it is done. */
export function planOverhead(filters: AttentionFilters): Planned[] {
  const shape = { batchSize: 1, seqlenQ: 16, seqlenK: 16, nHeads: 1, headDim: 16, causal: false }
  return filters.threads.flatMap((threads) =>
    filters.contenders
      .filter((contender) => /^(native|wasm|ort-node-mha)/.test(contender))
      .flatMap((contender) =>
        // onnxruntime's calls do not return before they are done.
        (contender.startsWith('ort') ? (['answered'] as const) : (['enqueued', 'answered'] as const)).map((until) =>
          attentionRow('overhead', filters, contender, shape, 'forward', threads, until),
        ),
      ),
  )
}

export function attentionRow(
  benchmark: string,
  { samples, cacheFolder }: Filters,
  contender: Contender,
  shape: AttentionShape,
  pass: Pass,
  threads: number,
  until: Until = 'done',
): Planned {
  const { batchSize, seqlenQ, seqlenK, nHeads, headDim, causal } = shape
  const batch = batchSize === 1 ? '' : `B ${batchSize} `
  const lengths = batch + (seqlenQ === seqlenK ? `N ${seqlenQ}` : `Sq ${seqlenQ} Sk ${seqlenK}`)
  const heads = keyHeads(shape) === nHeads ? nHeads : `${nHeads}/${keyHeads(shape)}`
  const name = `${pass} ${lengths} H ${heads} D ${headDim} ${causal ? 'causal' : 'full'}${until === 'done' ? '' : `, ${until}`}`
  return {
    subject: { benchmark, name, contender, threads, parameters: { pass, until, ...shape } },
    job: { kind: 'attention', contender, pass, shape, until, threads, samples, cacheFolder },
    impossible: tooManyThreads(contender, threads) ?? tooLarge(contender, shape, pass),
  }
}

/** The backward pass alone is for our attention, which has one. Peers have no gradient but jax-js; GroupQueryAttention is causal by definition, and here without a cache; others know no shared keys. */
function canCompute(contender: Contender, pass: Pass, shape: AttentionShape): boolean {
  if (/^(native|wasm|webgpu)/.test(contender)) return true
  if (pass === 'backward') return false
  if (keyHeads(shape) !== shape.nHeads) return false
  if (contender === 'ort-node-gqa') return shape.causal && pass === 'forward'
  return pass === 'forward' || /^(standard|jax-js)/.test(contender)
}

/** Peers whose threads need a page: in Node they have one. */
export const oneThreadInNode: readonly Contender[] = ['ort-web-mha', 'tfjs']

function tooManyThreads(contender: Contender, threads: number): string | null {
  return threads > 1 && oneThreadInNode.includes(contender) ? 'it runs on one thread in Node: its threads need a page' : null
}

const wasmBytes = 2 ** 32

function tooLarge(contender: Contender, shape: AttentionShape, pass: Pass): string | null {
  // Its device knows.
  if (contender.endsWith('webgpu')) return null
  const quadratic = contender.startsWith('standard') || contender === 'jax-js' || contender === 'tfjs'
  if (!quadratic) return null
  const ours = contender.startsWith('standard')
  // jax-js and tfjs hold scores and weights; our standard attention works in place.
  const bytes = standardBytes(shape, pass === 'forward+backward') * (ours ? 1 : 2)
  const limit = contender === 'standard-native' ? totalmem() / 2 : wasmBytes / 2
  return bytes < limit ? null : `its S × S matrices take ${(bytes / 2 ** 30).toFixed(0)} GiB`
}

export function planGemm(filters: Filters & GemmSizes & { contenders: readonly ProductContender[]; filter: string }): Planned[] {
  const { threads: counts, contenders, samples, filter } = filters
  const shapes = gemmShapes(filters).filter(({ name }) => name.includes(filter))
  return counts.flatMap((threads) =>
    shapes.flatMap((shape) =>
      contenders
        .filter((contender) => contender !== 'openblas' || !shape.epilogue)
        .map((contender) => {
          const { name, m, n, k, transposeA = false, transposeB = false, epilogue = '' } = shape
          const parameters = { m, n, k, transposeA, transposeB, epilogue }
          return {
            subject: {
              benchmark: 'gemm',
              name: `${name}${epilogue ? ` + ${epilogue}` : ''} ${m}×${n}×${k}`,
              contender,
              threads,
              parameters,
            },
            job: { kind: 'gemm' as const, contender, shape, threads, samples },
            impossible: null,
          }
        }),
    ),
  )
}

export interface TrainingFilters extends Filters {
  readonly contenders: readonly BackendName[]
  readonly profile: boolean
}

export function planTraining(filters: TrainingFilters, options: TrainingShapeOptions): Planned[] {
  const { architecture, batchSize, context, dModel, nLayers, vocabSize, attention } = options
  const name = `${architecture} T ${batchSize}×${context} d ${dModel} L ${nLayers} V ${vocabSize} ${attention}`
  return filters.threads.flatMap((threads) =>
    filters.contenders.map((contender) => ({
      subject: { benchmark: 'train', name, contender, threads, parameters: { ...options } },
      job: { kind: 'train' as const, contender, options, threads, samples: filters.samples, profile: filters.profile },
      impossible: null,
    })),
  )
}
