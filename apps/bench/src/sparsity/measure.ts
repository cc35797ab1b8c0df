import { pairDensity } from '@tilegrad/block-sparse'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import type { BlockMask } from '@tilegrad/tensor'
import { type AttentionShape, randomInputs } from '../attention/problem'
import { upload } from '../attention/tilegrad'
import { attentionFlops } from '../flops'
import { type BackendName, backendOptions } from '../job'
import { processMemory, resetPeakMemory } from '../memory'
import type { Measurement } from '../results'
import { time } from '../timing'
import { SparseAttention, type SparseAttentionOptions, type SparsePass } from './attention'
import { checkBlockSparse } from './check'
import { blockMaskOf, type MaskSpec } from './masks'

/** Attention without a causal mask, in tiles under a block mask or none, or the standard one. */
export interface SparseJob extends SparseAttentionOptions {
  readonly kind: 'sparse'
  readonly contender: BackendName
  readonly mask: MaskSpec | null
  readonly threads: number
  readonly samples: number
}

export async function measureSparse(job: SparseJob): Promise<Measurement> {
  const { shape, pass, mask, threads, samples } = job
  const blockMask = mask === null ? null : blockMaskOf(mask, shape.seqlenQ)
  const inputs = randomInputs(shape)
  const backend = await createCpuBackend(backendOptions(job.contender, threads))
  const tensors = upload(backend, inputs, shape)

  const atRest = backend.memory().bytes
  resetPeakMemory()
  const before = processMemory().bytes
  backend.resetPeakMemory()
  const attention = new SparseAttention(backend, tensors, job, blockMask)
  const timing = await time({ call: () => attention.call(), sync: () => backend.sync() }, { samples, threads })
  const tensorBytes = backend.memory().peakBytes - atRest + (blockMask === null ? 0 : bytesOf(blockMask))
  const memory = { processBytes: Math.max(0, processMemory().peakBytes - before), tensorBytes }

  const checks = checkBlockSparse(inputs, await attention.result(), shape, blockMask)
  await backend.dispose()
  const flops = flopsOf(pass, shape) * (blockMask === null ? 1 : pairDensity(blockMask))
  return { device: backend.info.driver, flops, bytes: null, checks, timing, memory }
}

/** Dense: by pairs that are visible, a mask leaves its share of them. */
function flopsOf(pass: SparsePass, shape: AttentionShape): number {
  if (pass !== 'backward') return attentionFlops(pass, shape)
  return attentionFlops('forward+backward', shape) - attentionFlops('forward', shape)
}

/** A mask lies on the host, and is memory that attention takes all the same. */
function bytesOf(blockMask: BlockMask): number {
  const { kvOffsets, kvBlocks, kvBits, qOffsets, qBlocks, qBits, bits } = blockMask
  return [kvOffsets, kvBlocks, kvBits, qOffsets, qBlocks, qBits, bits].reduce((sum, { byteLength }) => sum + byteLength, 0)
}
