import { totalmem } from 'node:os'
import type { AttentionShape } from '../attention/problem'
import { standardBytes } from '../attention/standard'
import type { BackendName } from '../job'
import type { Planned } from '../plan'
import type { MaskSpec } from '../sparsity/masks'
import { nameOf } from '../sparsity/plan'

export interface FigureFilters {
  readonly contender: BackendName
  readonly threads: readonly number[]
  readonly samples: number
  readonly seqlens: readonly number[]
  readonly nHeads: number
  readonly headDim: number
  readonly lines: readonly FigureLine[]
}

/** Lines of the paper's figure that run here, in the order of its tables. */
export const figureLines = ['standard', 'Linformer', 'Longformer', 'BigBird', 'flash', 'block-sparse flash'] as const
export type FigureLine = (typeof figureLines)[number]

/** One of the sizes of its paper (arXiv 2006.04768). */
const projectedLength = 256
/** The window that its paper pretrains with (arXiv 2004.05150), and one global token, as for classification. */
const longformer = { kind: 'longformer', window: 512, globalTokens: 1 } as const

/** Forward and backward pass over N, a line for each algorithm; no masks but those of the approximations. */
export function planFigure(filters: FigureFilters): Planned[] {
  const { threads: counts, seqlens, nHeads, headDim, lines } = filters
  return counts.flatMap((threads) =>
    seqlens.flatMap((seqlen) => {
      const shape = { batchSize: 1, seqlenQ: seqlen, seqlenK: seqlen, nHeads, headDim, causal: false }
      return lines.map((line) => figureRow(filters, line, shape, threads))
    }),
  )
}

export interface DecodingFilters {
  readonly contender: BackendName
  readonly threads: readonly number[]
  readonly samples: number
  readonly seqlens: readonly number[]
}

/** Shares of the prompt that are kept; null: all of it. */
const cacheShares = [null, 1 / 2, 1 / 4, 1 / 8]
/** Queries that have nothing in common, and queries that look for much the same, sharply. */
const dataOfDecoding = [
  { logitScale: 1, correlation: 0 },
  { logitScale: 4, correlation: 0.75 },
]

/** Decoding with Keyformer's cache beside the exact one: one layer, 8 heads of 64. Time does not depend on the data, so the exact one runs once. */
export function planKeyformer({ contender, threads: counts, samples, seqlens }: DecodingFilters): Planned[] {
  return counts.flatMap((threads) =>
    seqlens.flatMap((seqlen) =>
      dataOfDecoding.flatMap((data, i) =>
        cacheShares
          .filter((cacheShare) => cacheShare !== null || i === 0)
          .map((cacheShare): Planned => {
            const shape = { seqlen, nHeads: 8, headDim: 64, ...data }
            const name =
              cacheShare === null
                ? `all of N ${seqlen} H 8 D 64`
                : `1/${1 / cacheShare} of N ${seqlen} H 8 D 64, scale ${data.logitScale} corr ${data.correlation}`
            const parameters = { ...shape, cacheShare: cacheShare ?? 1 }
            const subject = { benchmark: 'keyformer', name, contender: cacheShare === null ? 'exact' : 'Keyformer', threads, parameters }
            return { subject, job: { kind: 'keyformer', contender, cacheShare, ...shape, threads, samples }, impossible: null }
          }),
      ),
    ),
  )
}

function figureRow({ contender, samples }: FigureFilters, line: FigureLine, shape: AttentionShape, threads: number): Planned {
  const pass = 'forward+backward'
  const subject = { benchmark: 'figure', name: `${pass} ${nameOf(shape)}`, contender: line, threads, parameters: { pass, ...shape } }
  const timed = { contender, shape, threads, samples }
  if (line === 'Linformer') {
    const parameters = { ...subject.parameters, projectedLength }
    return { subject: { ...subject, parameters }, job: { kind: 'linformer', projectedLength, ...timed }, impossible: null }
  }
  const mask = maskOf(line)
  const job = { kind: 'sparse', algorithm: line === 'standard' ? 'standard' : 'flash', pass, mask, ...timed } as const
  const parameters = { ...subject.parameters, ...mask }
  return { subject: { ...subject, parameters }, job, impossible: line === 'standard' ? tooLarge(shape, contender) : null }
}

function maskOf(line: FigureLine): MaskSpec | null {
  switch (line) {
    case 'Longformer':
      return longformer
    case 'BigBird':
      return { kind: 'bigbird', seed: 1 }
    case 'block-sparse flash':
      return { kind: 'butterfly', blockSize: 128 }
    default:
      return null
  }
}

/** A WebAssembly module has 4 GiB at most; natively half of the memory is for others. */
function tooLarge(shape: AttentionShape, contender: BackendName): string | null {
  const bytes = standardBytes(shape, true)
  const limit = contender === 'wasm' ? 2 ** 31 : totalmem() / 2
  return bytes < limit ? null : `its S × S matrices take ${(bytes / 2 ** 30).toFixed(0)} GiB`
}
