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

/** The same for subgroups of a known size: see shaders/attention-backward-software.wgsl. */
export interface SoftwareTile {
  /** Lanes. Each owns four keys. */
  readonly SUBGROUP: number
  /** Sets of keys, four of them a lane. */
  readonly KEYS: number
  /** Query rows of a turn of the loops over dK and dV. */
  readonly ROWS: number
  /** Vectors of four elements of a row that a lane holds. */
  readonly VECTORS: number
}

/** Sizes of subgroups of adapters in software, and the head dims that rows are padded to. */
const SOFTWARE_SIZES = [4, 8]
const SOFTWARE_HEAD_DIMS = [32, 64, 128]

export const SOFTWARE_TILES: readonly SoftwareTile[] = SOFTWARE_SIZES.flatMap((SUBGROUP) =>
  SOFTWARE_HEAD_DIMS.map((headDim) => ({
    SUBGROUP,
    ...(headDim === 32 ? { KEYS: 2, ROWS: 2 } : { KEYS: 1, ROWS: 4 }),
    VECTORS: headDim / 4 / SUBGROUP,
  })),
)

/** The same for groups of lanes in subgroups of any size, by the names in shaders/attention-backward-subgroups.wgsl. */
export interface GroupTile {
  readonly LANES: number
  readonly WORKGROUP: number
  /** Query rows, or keys, that a group owns. */
  readonly ROWS: number
  /** Vectors of four elements of a row's gradient that a lane sums. */
  readonly VECTORS: number
}

/** Of dQ and of dK/dV: four subgroups of 32 lanes, and a multiple of every size that WebGPU's subgroups may have, so that subgroups are full. */
const GROUPS_WORKGROUP = 128

/**
 * Up to D 64 a group of 8 lanes owns four rows, at 128 two. Of a row, a lane of dK/dV has 8 scores and 8·VECTORS elements of dK and dV in registers (96 in all at D 64,
 * 80 at D 128), of dQ 8 and 4·VECTORS (64, 48) and 16, or 32, that are fetched; the operands at hand add 20, places some 15. Two tiles, K and V or Q and dout,
 * of 4·LANES rows take 16 KiB of workgroup memory at D 64, 32 at D 128; beyond that `plain` takes less. Groups of 4 lanes are for what has no subgroups of 8.
 */
export const GROUP_TILES: readonly GroupTile[] = [8, 4].flatMap((LANES) =>
  [32, 64, 128].map((headDim) => {
    const VECTORS = headDim / 4 / LANES
    return { LANES, WORKGROUP: GROUPS_WORKGROUP, ROWS: LANES === 8 && headDim <= 64 ? 4 : 2, VECTORS }
  }),
)

/** Query rows, or keys, that a workgroup owns. */
export const ownRows = ({ LANES, WORKGROUP, ROWS }: GroupTile) => (WORKGROUP / LANES) * ROWS

/** Bytes of workgroup memory. */
const groupMemory = ({ LANES, VECTORS }: GroupTile) => 16 * 2 * 4 * LANES * LANES * VECTORS

/** How a backward pass goes. Rows of its operands are packed in `rowVectors` vectors of four elements. `name` is what options call it, if not by its variant. */
export type BackwardPlan = { readonly name: string; readonly rowVectors: number } & (
  | { readonly variant: 'plain'; readonly tile: BackwardTile }
  | { readonly variant: 'software'; readonly tile: SoftwareTile }
  | { readonly variant: 'subgroups'; readonly tile: GroupTile }
)

const groupName = (tile: GroupTile) => `subgroups-${ownRows(tile)}x${4 * tile.LANES}`

/** Values of `AttentionTiles.backward`. */
export const BACKWARD_VARIANTS: readonly string[] = [...new Set(['plain', 'software', 'subgroups', ...GROUP_TILES.map(groupName)])]

/** The plans that a device can have for rows of these head dims, the preferred one first. */
export function backwardPlans(ctx: KernelContext, headDim: number, headDimV: number): BackwardPlan[] {
  const needed = Math.ceil(Math.max(headDim, headDimV) / 4)
  const { min, max } = (ctx.features.has('subgroups') && ctx.subgroupSizes) || { min: 0, max: 0 }
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = ctx.limits
  const software = SOFTWARE_TILES.filter(({ SUBGROUP }) => SUBGROUP === min && SUBGROUP === max && ctx.mostTexels > 0).map(
    (tile): BackwardPlan => ({ name: 'software', variant: 'software', tile, rowVectors: tile.VECTORS * tile.SUBGROUP }),
  )
  const plain = BACKWARD_TILES.map(
    (tile): BackwardPlan => ({ name: 'plain', variant: 'plain', tile, rowVectors: (tile.VECTORS * tile.WORKGROUP) / 8 }),
  )
  const fits = (tile: GroupTile) =>
    tile.LANES <= min && groupMemory(tile) <= maxComputeWorkgroupStorageSize && tile.WORKGROUP <= maxComputeInvocationsPerWorkgroup
  const groupsOf = (lanes: number) =>
    GROUP_TILES.filter((tile) => tile.LANES === lanes && fits(tile)).map(
      (tile): BackwardPlan => ({ name: groupName(tile), variant: 'subgroups', tile, rowVectors: tile.VECTORS * tile.LANES }),
    )
  // GPUs have subgroups of 16 lanes or more, or of several sizes.
  const order = min >= 16 ? [groupsOf(8), plain, groupsOf(4)] : [software, plain, groupsOf(8), groupsOf(4)]
  return order.flatMap((plans) => plans.find(({ rowVectors }) => rowVectors >= needed) ?? [])
}

/** The plan of a call. @throws UnsupportedError if options ask for a variant that cannot do it */
export function backwardPlan(ctx: KernelContext, headDim: number, headDimV: number): BackwardPlan {
  const plans = backwardPlans(ctx, headDim, headDimV)
  const { backward } = ctx.attentionTiles
  const plan = backward === undefined ? plans[0] : plans.find(({ name, variant }) => variant === backward || name === backward)
  if (!plan) {
    ctx.unsupported(
      'attentionBackward',
      `attentionTiles '${backward}' here: this call can have ${plans.map(({ name }) => name).join(', ')}`,
    )
  }
  return plan as BackwardPlan
}
