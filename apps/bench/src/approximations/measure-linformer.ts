import { createCpuBackend } from '@tilegrad/kernels-cpu'
import { type AttentionShape, randomInputs } from '../attention/problem'
import { upload } from '../attention/tilegrad'
import { type BackendName, backendOptions } from '../job'
import { processMemory, resetPeakMemory } from '../memory'
import { randomNormal } from '../random'
import type { Measurement } from '../results'
import { time } from '../timing'
import { checkLinformer, readLinformer } from './check'
import { type LinformerResult, linformerAttention } from './linformer'

/** Linformer, forward and backward. */
export interface LinformerJob {
  readonly kind: 'linformer'
  readonly contender: BackendName
  /** One sequence, without a mask. */
  readonly shape: AttentionShape
  readonly projectedLength: number
  readonly threads: number
  readonly samples: number
}

export async function measureLinformer(job: LinformerJob): Promise<Measurement> {
  const { shape, projectedLength, threads, samples } = job
  const inputs = randomInputs(shape)
  const projections = projectionsOf(projectedLength, shape.seqlenK)
  const backend = await createCpuBackend(backendOptions(job.contender, threads))
  const tensors = upload(backend, inputs, shape)
  // The projections are memory that it takes; the inputs of attention are not.
  const atRest = backend.memory().bytes
  const projection = (values: Float32Array) => backend.tensor(values, [projectedLength, shape.seqlenK])
  const weights = { e: projection(projections.e), f: projection(projections.f) }

  resetPeakMemory()
  const before = processMemory().bytes
  backend.resetPeakMemory()
  let last: LinformerResult | undefined
  const call = () => {
    if (last) release(last)
    last = linformerAttention(backend, tensors, weights, true)
  }
  const timing = await time({ call, sync: () => backend.sync() }, { samples, threads })
  const memory = { processBytes: Math.max(0, processMemory().peakBytes - before), tensorBytes: backend.memory().peakBytes - atRest }
  const checks = last ? checkLinformer(inputs, projections, await readLinformer(last), shape) : []
  await backend.dispose()
  return { device: backend.info.driver, flops: flopsOf(shape, projectedLength), bytes: null, checks, timing, memory }
}

/** Of variance 1/projectedLength: products of them keep the size of what they project (Johnson and Lindenstrauss). */
function projectionsOf(projectedLength: number, seqlenK: number) {
  const factor = 1 / Math.sqrt(projectedLength)
  const draw = (seed: number) => randomNormal(projectedLength * seqlenK, seed).map((x) => x * factor)
  return { e: draw(5), f: draw(6) }
}

/** Seven products of attention to the projected keys; each projection has one forward and two backward. */
function flopsOf({ batchSize, nHeads, seqlenQ, seqlenK, headDim }: AttentionShape, projectedLength: number): number {
  return 2 * batchSize * nHeads * headDim * projectedLength * (7 * seqlenQ + 2 * 3 * seqlenK)
}

function release({ gradients, ...forward }: LinformerResult): void {
  for (const tensor of Object.values({ ...forward, ...gradients })) tensor.dispose()
}
