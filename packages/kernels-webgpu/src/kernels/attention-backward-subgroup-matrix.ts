import type { KernelContext, Run } from '../kernel-context'
import { defineShader } from '../shader'
import dkdvText from '../shaders/attention-backward-dkdv-subgroup-matrix.wgsl'
import dqText from '../shaders/attention-backward-dq-subgroup-matrix.wgsl'
import { attentionBackwardLibraries } from '../shaders/libraries'
import { MATRIX_UNITS, type MatrixUnit, matrixConstants, matrixLibrary } from '../subgroup-matrix'
import type { WebGPUTensor } from '../tensor'
import type { Packed } from './attention-backward-subgroups'
import { headParams, isGeneral } from './attention-problem'

/** How a workgroup's keys (of dK and dV) or rows (of dQ) meet rows or keys, by the prelude's names. */
interface MatrixTile {
  /** Keys, or rows, of each of four subgroups. */
  readonly ROWS_OF_OWNER: number
  /** Head dims that fit. */
  readonly HEAD_DIM: number
  /** Rows or keys of a tile. */
  readonly BLOCK: number
}

/** Keys, or query rows, of a workgroup. */
const owned = ({ ROWS_OF_OWNER }: MatrixTile) => 4 * ROWS_OF_OWNER

/** By head dim, then from many to few: the first that workgroup memory holds. Two operands and two results of 16 rows fill the registers at 128 columns in f16. */
function tilesOf({ Operand, emulated }: MatrixUnit): readonly MatrixTile[] {
  if (emulated) return [{ ROWS_OF_OWNER: 8, HEAD_DIM: 64, BLOCK: 16 }]
  const upTo64 = [
    { ROWS_OF_OWNER: 16, HEAD_DIM: 64, BLOCK: 32 },
    { ROWS_OF_OWNER: 16, HEAD_DIM: 64, BLOCK: 16 },
  ]
  if (Operand === 'f32') return upTo64
  return [...upTo64, { ROWS_OF_OWNER: 16, HEAD_DIM: 128, BLOCK: 32 }, { ROWS_OF_OWNER: 16, HEAD_DIM: 128, BLOCK: 16 }]
}

/** Bytes of workgroup memory that the shaders declare, at most. */
function memoryOf(tile: MatrixTile, { Operand, WORKGROUP }: MatrixUnit): number {
  const { HEAD_DIM, BLOCK } = tile
  const bytes = Operand === 'f16' ? 2 : 4
  const operands = 2 * BLOCK * (HEAD_DIM * bytes + 16) + 2 * owned(tile) * (BLOCK * bytes + 16)
  const sums = 2 * owned(tile) * (4 * BLOCK + 16)
  return operands + sums + 4 * Math.max(WORKGROUP, 2 * BLOCK)
}

const define = (name: string, text: string, emulated: boolean) =>
  defineShader(
    name,
    text,
    MATRIX_UNITS.filter((unit) => unit.emulated === emulated).flatMap((unit) =>
      [true, false].flatMap((GENERAL) => tilesOf(unit).map((tile) => ({ GENERAL, ...tile, ...matrixConstants(unit) }))),
    ),
    [matrixLibrary(emulated), ...attentionBackwardLibraries],
  )

export const attentionBackwardDkdvBySubgroupMatrix = define('attention-backward-dkdv-subgroup-matrix', dkdvText, false)
export const attentionBackwardDkdvByEmulatedMatrix = define('attention-backward-dkdv-subgroup-matrix', dkdvText, true)
export const attentionBackwardDqBySubgroupMatrix = define('attention-backward-dq-subgroup-matrix', dqText, false)
export const attentionBackwardDqByEmulatedMatrix = define('attention-backward-dq-subgroup-matrix', dqText, true)

/** How attention's backward pass runs on subgroup matrices. */
export interface MatrixBackward {
  readonly unit: MatrixUnit
  readonly tile: MatrixTile
}

/** With fewer rows or keys most of a block is empty. */
const FEWEST = 16

/** What a problem of rows of `rowVectors` vectors runs on, or undefined where no unit, or no tile, takes it. */
export function matrixBackward(
  ctx: KernelContext,
  { dtype, seqlenQ, seqlenK }: Packed['problem'],
  rowVectors: number,
): MatrixBackward | undefined {
  const { f16, f32 } = ctx.matrixUnits
  const unit = dtype === 'f16' ? (f16 ?? f32) : f32
  if (!unit || seqlenQ < FEWEST || seqlenK < FEWEST) return undefined
  const fits = (tile: MatrixTile) => tile.HEAD_DIM >= 4 * rowVectors && memoryOf(tile, unit) <= ctx.limits.maxComputeWorkgroupStorageSize
  const tile = tilesOf(unit).find(fits)
  return tile && { unit, tile }
}

/** Enqueues dK, dV and dQ. @returns [B, Hq, nMBlocks], what each workgroup of dQ gives to the gradient of its head's slope */
export function sumByMatrices(ctx: KernelContext, packed: Packed, { unit, tile }: MatrixBackward): WebGPUTensor {
  const { problem, shared, packedQ, packedK, dqSums, dkdvSums } = packed
  const { batchSize, nHeads, nHeadsK, seqlenQ, seqlenK } = problem
  const { bias, tables } = shared
  const constants = { GENERAL: isGeneral(problem), ...tile, ...matrixConstants(unit) }
  const nMBlocks = Math.ceil(seqlenQ / owned(tile))
  const dslopes = ctx.temporary([batchSize, nHeads, nMBlocks])
  ctx.clear(dslopes)
  const most = ctx.limits.maxComputeWorkgroupsPerDimension
  for (let firstBatch = 0; firstBatch < batchSize; firstBatch += most) {
    const count = Math.min(most, batchSize - firstBatch)
    const params = { ...matrixParams(packed, unit), firstBatch, nMBlocks }
    ctx.run({
      shader: unit.emulated ? attentionBackwardDkdvByEmulatedMatrix : attentionBackwardDkdvBySubgroupMatrix,
      entry: 'attentionBackwardDkdv',
      constants,
      bindings: { packedQ, packedK, bias, tables, dkdvSums },
      params,
      workgroups: [Math.ceil(seqlenK / owned(tile)), nHeadsK, count],
    })
    ctx.run({
      shader: unit.emulated ? attentionBackwardDqByEmulatedMatrix : attentionBackwardDqBySubgroupMatrix,
      entry: 'attentionBackwardDq',
      constants,
      bindings: { packedQ, packedK, bias, tables, dqSums, dslopes },
      params,
      workgroups: [nMBlocks, nHeads, count],
    })
  }
  return dslopes
}

function matrixParams({ shared: { params }, rowVectors }: Packed, { WORKGROUP }: MatrixUnit): Run['params'] {
  return {
    ...params,
    ...headParams('Q', undefined),
    ...headParams('K', undefined),
    ...headParams('V', undefined),
    planes: rowVectors,
    planesV: rowVectors,
    nSplits: 1,
    workgroup: WORKGROUP,
  }
}
