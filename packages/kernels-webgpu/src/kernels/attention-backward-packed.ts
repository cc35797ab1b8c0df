import type { AttentionBackwardProblem } from '@tilegrad/tensor'
import type { KernelContext, Run } from '../kernel-context'
import type { Constants, Shader } from '../shader'
import type { WebGPUTensor } from '../tensor'
import { headParams, isGeneral, type SharedBindings } from './attention-problem'

/** What kernels of the backward pass read in packed rows. */
export interface PackedOperands {
  readonly problem: AttentionBackwardProblem
  readonly shared: SharedBindings
  /** [Hq, totalQ, 2·rowVectors + 1, 4] */
  readonly packedQ: WebGPUTensor
  /** [Hk, totalK, 2·rowVectors, 4] */
  readonly packedK: WebGPUTensor
  readonly rowVectors: number
}

/** And what they sum up. */
export interface Packed extends PackedOperands {
  /** [Hq, totalQ, rowVectors, 4] */
  readonly dqSums: WebGPUTensor
  /** [Hk, totalK, 2·rowVectors, 4] */
  readonly dkdvSums: WebGPUTensor
}

/** What every kernel on packed rows gets: no tensor but these is read where it lies. */
export function packedParams({ shared: { params }, rowVectors }: PackedOperands, workgroup: number): Run['params'] {
  return {
    ...params,
    ...headParams('Q', undefined),
    ...headParams('K', undefined),
    ...headParams('V', undefined),
    planes: rowVectors,
    planesV: rowVectors,
    nSplits: 1,
    workgroup,
  }
}

/** Two kernels that sum the gradients, and how they divide the work: dK and dV by keys, dQ by query rows. */
export interface KernelPair {
  readonly dkdv: Shader
  readonly dq: Shader
  readonly constants: Constants
  /** Query rows of a workgroup of `dq`. */
  readonly blockM: number
  /** Keys of a workgroup of `dkdv`. */
  readonly blockN: number
  /** Invocations of a workgroup. */
  readonly workgroup: number
}

/** Enqueues dK, dV and dQ, each by its kernel. @returns [B, Hq, nMBlocks], what each workgroup of dQ gives to the gradient of its head's slope */
export function sumByPair(ctx: KernelContext, packed: Packed, { dkdv, dq, blockM, blockN, workgroup, ...pair }: KernelPair): WebGPUTensor {
  const { problem, shared, packedQ, packedK, dqSums, dkdvSums } = packed
  const { batchSize, nHeads, nHeadsK, seqlenQ, seqlenK } = problem
  const { bias, tables } = shared
  const constants = { GENERAL: isGeneral(problem), ...pair.constants }
  const nMBlocks = Math.ceil(seqlenQ / blockM)
  const dslopes = ctx.temporary([batchSize, nHeads, nMBlocks])
  ctx.clear(dslopes)
  const most = ctx.limits.maxComputeWorkgroupsPerDimension
  for (let firstBatch = 0; firstBatch < batchSize; firstBatch += most) {
    const count = Math.min(most, batchSize - firstBatch)
    const params = { ...packedParams(packed, workgroup), firstBatch, nMBlocks }
    ctx.run({
      shader: dkdv,
      entry: 'attentionBackwardDkdv',
      constants,
      bindings: { packedQ, packedK, bias, tables, dkdvSums },
      params,
      workgroups: [Math.ceil(seqlenK / blockN), nHeadsK, count],
    })
    ctx.run({
      shader: dq,
      entry: 'attentionBackwardDq',
      constants,
      bindings: { packedQ, packedK, bias, tables, dqSums, dslopes },
      params,
      workgroups: [nMBlocks, nHeads, count],
    })
  }
  return dslopes
}
