import type { KeyformerJob } from './approximations/measure-keyformer'
import type { LinformerJob } from './approximations/measure-linformer'
import type { AttentionShape, Pass } from './attention/problem'
import type { GemmShape } from './gemm'
import type { SparseJob } from './sparsity/measure'
import type { TrainingShapeOptions } from './training'

/** Where kernels of ours run: `native`, `wasm`, or an instruction set as in `native:avx2`. */
export type BackendName = 'native' | 'wasm' | `native:${string}`

/** What computes matrix products. */
export type ProductContender = BackendName | 'openblas'

/** What computes attention. */
export type Contender = BackendName | `standard-${'native' | 'wasm'}` | Peer

export const peers = ['ort-node-mha', 'ort-node-gqa', 'ort-web-mha', 'jax-js', 'tfjs'] as const
export type Peer = (typeof peers)[number]

/**
 * What a time ends with: `done`, when the work of many calls is done; `answered`, when that of each call is, one call after the other;
 * `enqueued`, when the calls have returned.
 */
export type Until = 'done' | 'answered' | 'enqueued'

interface Timed {
  readonly threads: number
  readonly samples: number
}

export interface AttentionJob extends Timed {
  readonly kind: 'attention'
  readonly contender: Contender
  readonly pass: Pass
  readonly shape: AttentionShape
  readonly until: Until
  /** Where float64 statistics of a shape are kept for its other contenders. */
  readonly cacheFolder: string
}

export interface GemmJob extends Timed {
  readonly kind: 'gemm'
  readonly contender: ProductContender
  readonly shape: GemmShape
}

export interface TrainingJob extends Timed {
  readonly kind: 'train'
  readonly contender: BackendName
  readonly options: TrainingShapeOptions
  /** Where the time of a step goes, kernel by kernel. */
  readonly profile: boolean
}

/** The ceilings of a backend with so many threads. */
export interface PeakJob {
  readonly kind: 'peak'
  readonly contender: BackendName
  readonly threads: number
}

/** What one process measures. */
export type MeasurementJob = AttentionJob | GemmJob | TrainingJob | SparseJob | LinformerJob | KeyformerJob
export type Job = MeasurementJob | PeakJob

/** The runtime whose peak bounds a contender. */
export function runtimeOf(contender: Contender | ProductContender): BackendName {
  switch (contender) {
    case 'standard-native':
    case 'ort-node-mha':
    case 'ort-node-gqa':
    case 'openblas':
      return 'native'
    case 'standard-wasm':
    case 'ort-web-mha':
    case 'jax-js':
    case 'tfjs':
      return 'wasm'
    default:
      return contender
  }
}

export function backendOptions(name: BackendName, threads: number) {
  const [runtime, isa] = name.split(':') as ['native' | 'wasm', string?]
  return { runtime, threads, ...(isa === undefined ? {} : { isa }) }
}
