import type { Constants, WgslFile } from './shader'
import text from './shaders/subgroup-matrix.wgsl'
import emulatedText from './shaders/subgroup-matrix-emulated.wgsl'

/** What `GPUAdapterInfo.subgroupMatrixConfigs` lists (Dawn): left M × K times right K × N in one type, summed in another. */
export interface SubgroupMatrixConfig {
  readonly componentType: string
  readonly resultComponentType: string
  readonly M: number
  readonly N: number
  readonly K: number
}

/** The matrices of one operand type that kernels multiply: constants of a prelude over shaders/subgroup-matrix.wgsl. */
export interface MatrixUnit {
  readonly Operand: 'f16' | 'f32'
  readonly MATRIX_M: number
  readonly MATRIX_N: number
  readonly MATRIX_K: number
  /** Invocations of a workgroup: at least four subgroups. */
  readonly WORKGROUP: number
  /** Whether shaders/subgroup-matrix-emulated.wgsl stands in for the hardware: in tests. */
  readonly emulated: boolean
}

/** By operand type; one that is missing has no unit. */
export type MatrixUnits = Partial<Readonly<Record<MatrixUnit['Operand'], MatrixUnit>>>

type Shape = Pick<MatrixUnit, 'Operand' | 'MATRIX_M' | 'MATRIX_N' | 'MATRIX_K'>

/**
 * Shapes that shaders are made for, with sums in f32: of NVIDIA, AMD and Intel (VK_KHR_cooperative_matrix) and of Apple (simdgroup_matrix, whose f16 matrices sum in
 * f16 and are not used).
 */
export const MATRIX_SHAPES: readonly Shape[] = [
  { Operand: 'f16', MATRIX_M: 16, MATRIX_N: 16, MATRIX_K: 16 },
  { Operand: 'f16', MATRIX_M: 16, MATRIX_N: 8, MATRIX_K: 16 },
  { Operand: 'f16', MATRIX_M: 16, MATRIX_N: 8, MATRIX_K: 8 },
  { Operand: 'f16', MATRIX_M: 8, MATRIX_N: 16, MATRIX_K: 16 },
  { Operand: 'f16', MATRIX_M: 8, MATRIX_N: 8, MATRIX_K: 16 },
  { Operand: 'f32', MATRIX_M: 8, MATRIX_N: 8, MATRIX_K: 8 },
]

const EMULATED_WORKGROUP = 64

/** Units that `matrixUnitsOf` chooses from: of four subgroups of 32 or fewer, and of four of 64, as AMD's may be. */
const deviceUnits: readonly MatrixUnit[] = MATRIX_SHAPES.flatMap((shape, i) =>
  [128, ...(i === 0 ? [256] : [])].map((WORKGROUP) => ({ ...shape, WORKGROUP, emulated: false })),
)

const emulate = (Operand: 'f16' | 'f32', MATRIX_N: number): MatrixUnit => ({
  Operand,
  MATRIX_M: 4,
  MATRIX_N,
  MATRIX_K: 8,
  WORKGROUP: EMULATED_WORKGROUP,
  emulated: true,
})

/** Units that tests put in the place of a device's. Subgroups have MATRIX_N invocations: of eight there are more than own part of a tile. */
export const EMULATED_UNITS: readonly MatrixUnits[] = [{ f16: emulate('f16', 16), f32: emulate('f32', 8) }]

/** Units that shaders have variants for. */
export const MATRIX_UNITS: readonly MatrixUnit[] = [...deviceUnits, ...EMULATED_UNITS.flatMap((units) => Object.values(units))]

/** The library of a unit. */
export function matrixLibrary(emulated: boolean): WgslFile {
  return emulated ? { name: 'subgroup-matrix-emulated.wgsl', text: emulatedText } : { name: 'subgroup-matrix.wgsl', text }
}

/** What a unit defines in preludes. */
export function matrixConstants({ emulated, ...unit }: MatrixUnit): Constants {
  // 16 bytes, in vectors of four operands.
  const PADDING = unit.Operand === 'f16' ? 2 : 1
  return { ...unit, PADDING, SUBGROUPS: true, ...(emulated ? {} : { SUBGROUP_MATRIX: true }) }
}

/**
 * The units of a device: of each operand type the first of its configurations, which come in order of preference, that shaders are made for.
 *
 * @param maxSubgroupSize the workgroup must be a multiple of it, and have four subgroups
 */
export function matrixUnitsOf(configs: Iterable<SubgroupMatrixConfig>, maxSubgroupSize: number, maxInvocations: number): MatrixUnits {
  const takes = ({ WORKGROUP }: MatrixUnit) =>
    WORKGROUP % maxSubgroupSize === 0 && WORKGROUP >= 4 * maxSubgroupSize && WORKGROUP <= maxInvocations
  const units: { f16?: MatrixUnit; f32?: MatrixUnit } = {}
  for (const { componentType, resultComponentType, M, N, K } of configs) {
    const unit = deviceUnits.find(
      (candidate) =>
        takes(candidate) &&
        candidate.Operand === componentType &&
        candidate.MATRIX_M === M &&
        candidate.MATRIX_N === N &&
        candidate.MATRIX_K === K,
    )
    if (unit && resultComponentType === 'f32') units[unit.Operand] ??= unit
  }
  return units
}

/** What the units are, for `backend.info.features`. */
export function describeUnits(units: MatrixUnits): string | false {
  const shapes = Object.values(units).map(({ Operand, MATRIX_M, MATRIX_N, MATRIX_K, emulated }) => {
    return `${emulated ? 'emulated ' : ''}${Operand} ${MATRIX_M}×${MATRIX_N}×${MATRIX_K}`
  })
  return shapes.length > 0 && shapes.join(', ')
}
