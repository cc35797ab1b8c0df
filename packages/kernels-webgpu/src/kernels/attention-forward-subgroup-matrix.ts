import type { AttentionProblem, Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { type Constants, defineShader, type Shader } from '../shader'
import text from '../shaders/attention-forward-subgroup-matrix.wgsl'
import { attentionForwardLibraries } from '../shaders/libraries'
import { MATRIX_UNITS, type MatrixUnit, matrixConstants, matrixLibrary } from '../subgroup-matrix'
import { type Heads, headParams, isGeneral, planesOf, type SharedBindings } from './attention-problem'

/** How a workgroup's rows meet keys, by the prelude's names. */
interface MatrixTile {
  /** Query rows of each of four subgroups. */
  readonly ROWS_OF_OWNER: number
  /** Head dims that fit. */
  readonly HEAD_DIM: number
  /** Keys of a tile. */
  readonly BLOCK_N: number
}

/** Query rows of a workgroup. */
const blockM = ({ ROWS_OF_OWNER }: MatrixTile) => 4 * ROWS_OF_OWNER

/** By head dim, then from many keys to few: the first that workgroup memory holds. */
function tilesOf({ Operand, emulated }: MatrixUnit): readonly MatrixTile[] {
  if (emulated) return [{ ROWS_OF_OWNER: 8, HEAD_DIM: 64, BLOCK_N: 16 }]
  const upTo128 = [
    { ROWS_OF_OWNER: 16, HEAD_DIM: 64, BLOCK_N: 64 },
    { ROWS_OF_OWNER: 16, HEAD_DIM: 64, BLOCK_N: 32 },
    { ROWS_OF_OWNER: 16, HEAD_DIM: 64, BLOCK_N: 16 },
    { ROWS_OF_OWNER: 16, HEAD_DIM: 128, BLOCK_N: 32 },
    { ROWS_OF_OWNER: 16, HEAD_DIM: 128, BLOCK_N: 16 },
  ]
  // Q and O of 16 rows take 256 registers of 32 lanes at 256 columns in f32: too many.
  return Operand === 'f32' ? upTo128 : [...upTo128, { ROWS_OF_OWNER: 16, HEAD_DIM: 256, BLOCK_N: 16 }]
}

/** Bytes of workgroup memory that the shader declares. */
function memoryOf(tile: MatrixTile, { Operand, WORKGROUP }: MatrixUnit): number {
  const { HEAD_DIM, BLOCK_N } = tile
  const rows = blockM(tile)
  const bytes = Operand === 'f16' ? 2 : 4
  const operands = 2 * BLOCK_N * (HEAD_DIM * bytes + 16) + rows * (BLOCK_N * bytes + 16)
  const sums = rows * (4 * BLOCK_N + 16)
  return operands + sums + 4 * (WORKGROUP + 2 * rows + 2)
}

/** Of q, k and v, in vectors of four, and of out, or of its parts when keys are split. Copies in whole vectors are f32. */
const TYPES = [
  ['f16', 'f16'],
  ['f16', 'f32'],
  ['f32', 'f16'],
  ['f32', 'f32'],
] as const

const typesOf = (element: string, OutElement: string): Constants => ({ Vector: `vec4<${element}>`, OutElement })

const define = (emulated: boolean) =>
  defineShader(
    'attention-forward-subgroup-matrix',
    text,
    MATRIX_UNITS.filter((unit) => unit.emulated === emulated).flatMap((unit) =>
      TYPES.flatMap(([element, out]) =>
        [true, false].flatMap((GENERAL) =>
          tilesOf(unit).map((tile) => ({ ...typesOf(element, out), GENERAL, ...tile, ...matrixConstants(unit) })),
        ),
      ),
    ),
    [matrixLibrary(emulated), ...attentionForwardLibraries],
  )

export const attentionForwardBySubgroupMatrix = define(false)
export const attentionForwardByEmulatedMatrix = define(true)

/** How attention's forward pass runs on subgroup matrices. */
export interface MatrixForward {
  readonly shader: Shader
  readonly unit: MatrixUnit
  readonly tile: MatrixTile
  /** Query rows of a workgroup. */
  readonly blockM: number
}

/** q, k and v in rows of whole vectors of four elements, all of one type. */
export interface MatrixRows {
  readonly element: 'f32' | 'f16'
  readonly q: Heads
  readonly k: Heads
  readonly v: Heads
}

/** With fewer rows most of a block is empty. */
const FEWEST_ROWS = 16

/** What a problem runs on, or undefined where no unit, or no tile, takes it. */
export function matrixForward(ctx: KernelContext, problem: AttentionProblem): MatrixForward | undefined {
  const { dtype, headDim, headDimV, seqlenQ, totalK } = problem
  const { f16, f32 } = ctx.matrixUnits
  const unit = dtype === 'f16' ? (f16 ?? f32) : f32
  if (!unit || seqlenQ < FEWEST_ROWS || totalK === 0) return undefined
  const tile = tilesOf(unit).find(
    (candidate) =>
      candidate.HEAD_DIM >= Math.max(headDim, headDimV) && memoryOf(candidate, unit) <= ctx.limits.maxComputeWorkgroupStorageSize,
  )
  if (!tile) return undefined
  const shader = unit.emulated ? attentionForwardByEmulatedMatrix : attentionForwardBySubgroupMatrix
  return { shader, unit, tile, blockM: blockM(tile) }
}

/** Enqueues it. `out` and `lse` are those of parts where nSplits > 1. */
export function dispatchMatrixForward(
  ctx: KernelContext,
  problem: AttentionProblem,
  { shader, unit, tile, blockM }: MatrixForward,
  { element, q, k, v }: MatrixRows,
  { params, ...bindings }: SharedBindings,
  out: Tensor,
  lse: Tensor,
  nSplits: number,
): void {
  const { batchSize, nHeads, headDim, headDimV, seqlenQ } = problem
  const nMBlocks = Math.ceil(seqlenQ / blockM)
  const most = Math.floor(ctx.limits.maxComputeWorkgroupsPerDimension / nSplits)
  for (let firstBatch = 0; firstBatch < batchSize; firstBatch += most) {
    ctx.run({
      shader,
      entry: 'attentionForward',
      constants: { ...typesOf(element, out.dtype), GENERAL: isGeneral(problem), ...tile, ...matrixConstants(unit) },
      bindings: { q, k, v, ...bindings, out, lse },
      params: {
        ...params,
        ...headParams('Q', q),
        ...headParams('K', k),
        ...headParams('V', v),
        planes: planesOf(headDim),
        planesV: planesOf(headDimV),
        firstBatch,
        nMBlocks,
        nSplits,
        workgroup: unit.WORKGROUP,
      },
      workgroups: [nMBlocks, nHeads, Math.min(most, batchSize - firstBatch) * nSplits],
    })
  }
}
