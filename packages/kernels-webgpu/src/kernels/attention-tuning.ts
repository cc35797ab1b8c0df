import { type Backend, type DType, numel, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { forwardTiles, shapeClass } from './attention-tiles'

/** A call of attentionForward to measure: B, Sq, Sk, Hq, Hk, D, Dv. */
export interface AttentionShape {
  /** Default 1. */
  readonly batchSize?: number
  readonly seqlenQ: number
  /** Default seqlenQ. */
  readonly seqlenK?: number
  readonly nHeads: number
  /** Default nHeads. */
  readonly nHeadsK?: number
  readonly headDim: number
  /** Default headDim. */
  readonly headDimV?: number
  /** Default f32. */
  readonly dtype?: DType
  readonly causal?: boolean
}

/** Timed calls of each tile, of which the shortest counts, after one that compiles. */
const RUNS = 3

/** As WebGPUBackend.tuneAttention, whose docstring applies. */
export async function tuneAttention(backend: Backend, ctx: KernelContext, shape: AttentionShape): Promise<Record<string, number>> {
  const { batchSize = 1, seqlenQ, seqlenK = seqlenQ, nHeads, nHeadsK = nHeads, headDim, headDimV = headDim, dtype = 'f32' } = shape
  const key = shapeClass({ batchSize, seqlenQ, seqlenK, nHeads, headDim, headDimV, dtype })
  const before = ctx.measuredTiles.get(key)
  const inputs = [
    [batchSize, seqlenQ, nHeads, headDim],
    [batchSize, seqlenK, nHeadsK, headDim],
    [batchSize, seqlenK, nHeadsK, headDimV],
  ].map((size) => someTensor(backend, size, dtype))
  const [q, k, v] = inputs as [(typeof inputs)[0], (typeof inputs)[0], (typeof inputs)[0]]
  const milliseconds: Record<string, number> = {}
  try {
    const element = dtype === 'f16' && headDim % 4 === 0 && headDimV % 4 === 0 ? 'f16' : 'f32'
    for (const { name } of forwardTiles(ctx, { headDim, headDimV, seqlenQ, totalK: batchSize * seqlenK, nHeadsK, element })) {
      ctx.measuredTiles.set(key, name)
      const times: number[] = []
      for (let run = 0; run <= RUNS; run++) {
        await backend.sync()
        const start = performance.now()
        const { out, lse } = backend.kernels.attentionForward(q, k, v, { causal: shape.causal ?? false })
        await backend.sync()
        times.push(performance.now() - start)
        out.dispose()
        lse.dispose()
      }
      milliseconds[name] = Math.min(...times.slice(1))
    }
  } catch (error) {
    if (before === undefined) ctx.measuredTiles.delete(key)
    else ctx.measuredTiles.set(key, before)
    throw error
  } finally {
    for (const tensor of inputs) tensor.dispose()
  }
  const [fastest] = Object.entries(milliseconds).sort(([, a], [, b]) => a - b)
  if (fastest) ctx.measuredTiles.set(key, fastest[0])
  return milliseconds
}

/** Elements between −1 and 1 that differ: processors are faster with zeros. */
function someTensor(backend: Backend, shape: readonly number[], dtype: DType): Tensor {
  const exact = backend.tensor(
    Float32Array.from({ length: numel(shape) }, (_, i) => Math.sin(i * i)),
    shape,
  )
  if (dtype === 'f32') return exact
  const cast = backend.kernels.cast(exact, dtype)
  exact.dispose()
  return cast
}
