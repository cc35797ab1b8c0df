import type { KernelContext } from '../kernel-context'
import { defineShader } from '../shader'
import dkdvText from '../shaders/attention-backward-dkdv-subgroup-matrix.wgsl'
import dqText from '../shaders/attention-backward-dq-subgroup-matrix.wgsl'
import { attentionBackwardLibraries } from '../shaders/libraries'
import { MATRIX_UNITS, type MatrixUnit, matrixConstants, matrixLibrary } from '../subgroup-matrix'
import type { WebGPUTensor } from '../tensor'
import { type Packed, sumByPair } from './attention-backward-packed'

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

/** Enqueues dK, dV and dQ. @returns see sumByPair */
export function sumByMatrices(ctx: KernelContext, packed: Packed, { unit, tile }: MatrixBackward): WebGPUTensor {
  return sumByPair(ctx, packed, {
    dkdv: unit.emulated ? attentionBackwardDkdvByEmulatedMatrix : attentionBackwardDkdvBySubgroupMatrix,
    dq: unit.emulated ? attentionBackwardDqByEmulatedMatrix : attentionBackwardDqBySubgroupMatrix,
    constants: { ...tile, ...matrixConstants(unit) },
    blockM: owned(tile),
    blockN: owned(tile),
    workgroup: unit.WORKGROUP,
  })
}
