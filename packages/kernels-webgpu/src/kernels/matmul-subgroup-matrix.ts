import type { DType } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { defineShader, type Shader } from '../shader'
import { activationsWgsl } from '../shaders/libraries'
import text from '../shaders/matmul.wgsl'
import elements from '../shaders/matmul-elements.wgsl'
import matrices from '../shaders/matmul-subgroup-matrix.wgsl'
import { MATRIX_UNITS, type MatrixUnit, matrixConstants, matrixLibrary } from '../subgroup-matrix'
import { MATMUL_TYPES, TRANSPOSES, typesOf } from './matmul-variants'

/** What a workgroup owns of the result, and the steps of k that it stages. */
export interface MatrixTile {
  readonly TILE_M: number
  readonly TILE_N: number
  readonly TILE_K: number
}

/** From large to small. */
function tilesOf({ Operand, emulated }: MatrixUnit): readonly MatrixTile[] {
  if (emulated) return [{ TILE_M: 32, TILE_N: 32, TILE_K: 16 }]
  if (Operand === 'f32') return [{ TILE_M: 64, TILE_N: 64, TILE_K: 16 }]
  return [
    { TILE_M: 128, TILE_N: 128, TILE_K: 32 },
    { TILE_M: 64, TILE_N: 64, TILE_K: 32 },
  ]
}

/** Bytes of workgroup memory that shaders/matmul-subgroup-matrix.wgsl declares, transposed or not, at most. */
function memoryOf({ TILE_M, TILE_N, TILE_K }: MatrixTile, { Operand, MATRIX_M, MATRIX_N }: MatrixUnit): number {
  const bytes = Operand === 'f16' ? 2 : 4
  return (TILE_M + TILE_N) * (TILE_K * bytes + 16) + 4 * MATRIX_M * MATRIX_N * 4
}

/** Whether a unit takes operands of these types without losing digits. */
const takes = ({ Operand }: MatrixUnit, types: readonly string[]) => Operand === 'f32' || types.every((type) => type === 'f16')

const define = (emulated: boolean) =>
  defineShader(
    'matmul',
    text,
    MATRIX_UNITS.filter((unit) => unit.emulated === emulated).flatMap((unit) =>
      MATMUL_TYPES.filter(([a, b]) => takes(unit, [a, b])).flatMap((types) =>
        [true, false].flatMap((vector) =>
          tilesOf(unit).flatMap((tile) =>
            TRANSPOSES.map((transposed) => ({ ...typesOf(types, vector, 'element'), ...transposed, ...tile, ...matrixConstants(unit) })),
          ),
        ),
      ),
    ),
    [
      { name: 'matmul-elements.wgsl', text: elements },
      { name: 'matmul-subgroup-matrix.wgsl', text: matrices },
      matrixLibrary(emulated),
      activationsWgsl,
    ],
  )

export const matmulBySubgroupMatrix = define(false)
export const matmulByEmulatedMatrix = define(true)

export interface MatrixVariant {
  readonly shader: Shader
  readonly unit: MatrixUnit
  readonly tiles: readonly MatrixTile[]
}

/** Fewer rows or columns leave most of a tile empty. */
const FEWEST = 16

/** How to multiply a and b by subgroup matrices, or undefined where there are none for them. */
export function matrixVariant(ctx: KernelContext, a: DType, b: DType, m: number, n: number): MatrixVariant | undefined {
  if (m < FEWEST || n < FEWEST) return undefined
  const { f16, f32 } = ctx.matrixUnits
  const unit = [f16, f32].find((found) => found && takes(found, [a, b]))
  if (!unit) return undefined
  const tiles = tilesOf(unit).filter((tile) => memoryOf(tile, unit) <= ctx.limits.maxComputeWorkgroupStorageSize)
  return tiles.length > 0 ? { shader: unit.emulated ? matmulByEmulatedMatrix : matmulBySubgroupMatrix, unit, tiles } : undefined
}
