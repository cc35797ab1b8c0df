import type { KeyformerJob } from './approximations/measure-keyformer'
import type { LinformerJob } from './approximations/measure-linformer'
import type { AttentionShape, Pass } from './attention/problem'
import type { GemmShape } from './gemm'
import type { SparseJob } from './sparsity/measure'
import type { TrainingShapeOptions } from './training'

/** Where kernels of ours run on processors: `native`, `wasm`, or an instruction set as in `native:avx2`. */
export type BackendName = 'native' | 'wasm' | `native:${string}`

/** Attention of ours on WebGPU, in f32 unless it says otherwise. */
export const webgpuVariants = ['webgpu', 'webgpu:f16', 'webgpu:subgroup-matrix', 'webgpu:f16+subgroup-matrix'] as const
export type WebGPUVariant = (typeof webgpuVariants)[number]

/** What computes matrix products. */
export type ProductContender = BackendName | 'openblas'

/** What computes attention. */
export type Contender = BackendName | WebGPUVariant | `standard-${'native' | 'wasm' | 'webgpu'}` | Peer

export const peers = ['ort-node-mha', 'ort-node-gqa', 'ort-web-mha', 'jax-js', 'tfjs'] as const
export const webgpuPeers = ['ort-webgpu-mha', 'jax-js-webgpu'] as const
export type Peer = (typeof peers)[number] | (typeof webgpuPeers)[number]

/** Threads of rows whose arithmetic is done by a device with as many as it has. */
export const deviceThreads = 0

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
  readonly contender: RuntimeName
  readonly threads: number
}

/** Asks what WebGPU runs on here: see adapter.ts. */
export interface AdapterJob {
  readonly kind: 'adapter'
  readonly contender: 'webgpu'
}

/** What one process measures. */
export type MeasurementJob = AttentionJob | GemmJob | TrainingJob | SparseJob | LinformerJob | KeyformerJob
export type Job = MeasurementJob | PeakJob | AdapterJob

/** What has peaks of its own. */
export type RuntimeName = BackendName | 'webgpu'

/** The runtime whose peak bounds a contender. */
export function runtimeOf(contender: Contender | ProductContender): RuntimeName {
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
    case 'webgpu':
    case 'webgpu:f16':
    case 'webgpu:subgroup-matrix':
    case 'webgpu:f16+subgroup-matrix':
    case 'standard-webgpu':
    case 'ort-webgpu-mha':
    case 'jax-js-webgpu':
      return 'webgpu'
    default:
      return contender
  }
}

export function backendOptions(name: BackendName, threads: number) {
  const [runtime, isa] = name.split(':') as ['native' | 'wasm', string?]
  return { runtime, threads, ...(isa === undefined ? {} : { isa }) }
}
