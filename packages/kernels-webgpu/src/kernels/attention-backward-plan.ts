import type { KernelContext } from '../kernel-context'

/** How the backward kernels divide their work by way of workgroup memory: see shaders/attention-backward-products.wgsl. */
export interface BackwardTile {
  readonly WORKGROUP: number
  /** Vectors of four elements of a gradient's row that an invocation sums. */
  readonly VECTORS: number
}

/** By head dim. Each takes the 16 KiB of workgroup memory that every device has. */
export const BACKWARD_TILES: readonly BackwardTile[] = [
  { WORKGROUP: 64, VECTORS: 1 },
  { WORKGROUP: 128, VECTORS: 1 },
  { WORKGROUP: 128, VECTORS: 2 },
  { WORKGROUP: 256, VECTORS: 2 },
]

/** Query rows and keys of a tile, BLOCK_M and BLOCK_N of the shader. */
export const BACKWARD_BLOCK = { m: 64, n: 32 }

/** The same for subgroups of a known size: see shaders/attention-backward-subgroups.wgsl. */
export interface SubgroupTile {
  /** Lanes. Each owns four keys. */
  readonly SUBGROUP: number
  /** Query rows of a turn of the loop. */
  readonly ROWS: number
  /** Vectors of four elements of a row that a lane holds. */
  readonly VECTORS: number
}

/** Sizes of subgroups of adapters in software, and the head dims that rows are padded to. */
const SUBGROUP_SIZES = [4, 8]
const SUBGROUP_HEAD_DIMS = [32, 64, 128]

export const SUBGROUP_TILES: readonly SubgroupTile[] = SUBGROUP_SIZES.flatMap((SUBGROUP) =>
  SUBGROUP_HEAD_DIMS.map((headDim) => ({ SUBGROUP, ROWS: 2, VECTORS: headDim / 4 / SUBGROUP })),
)

/** What the backward pass divides its work by; both have rows of ROW_VECTORS vectors. */
export type BackwardPlan = { readonly rowVectors: number } & ({ readonly tile: BackwardTile } | { readonly subgroups: SubgroupTile })

export function backwardPlan(ctx: KernelContext, headDim: number, headDimV: number): BackwardPlan {
  const needed = Math.ceil(Math.max(headDim, headDimV) / 4)
  const { min, max } = ctx.subgroupSizes ?? {}
  const rowVectors = (tile: SubgroupTile) => tile.VECTORS * tile.SUBGROUP
  const subgroups = SUBGROUP_TILES.find((tile) => tile.SUBGROUP === min && tile.SUBGROUP === max && rowVectors(tile) >= needed)
  if (subgroups) return { subgroups, rowVectors: rowVectors(subgroups) }
  const vectors = ({ WORKGROUP, VECTORS }: BackwardTile) => (VECTORS * WORKGROUP) / 8
  const tile = BACKWARD_TILES.find((tile) => vectors(tile) >= needed) as BackwardTile
  return { tile, rowVectors: vectors(tile) }
}
