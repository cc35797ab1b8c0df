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
export interface SoftwareTile {
  /** Lanes. Each owns four keys. */
  readonly SUBGROUP: number
  /** Query rows of a turn of the loop. */
  readonly ROWS: number
  /** Vectors of four elements of a row that a lane holds. */
  readonly VECTORS: number
}

/** Sizes of subgroups of adapters in software, and the head dims that rows are padded to. */
const SOFTWARE_SIZES = [4, 8]
const SOFTWARE_HEAD_DIMS = [32, 64, 128]

export const SOFTWARE_TILES: readonly SoftwareTile[] = SOFTWARE_SIZES.flatMap((SUBGROUP) =>
  SOFTWARE_HEAD_DIMS.map((headDim) => ({ SUBGROUP, ROWS: 2, VECTORS: headDim / 4 / SUBGROUP })),
)

/** How a backward pass goes. Rows of its operands are packed in `rowVectors` vectors of four elements. */
export type BackwardPlan = { readonly rowVectors: number } & (
  | { readonly variant: 'plain'; readonly tile: BackwardTile }
  | { readonly variant: 'software'; readonly tile: SoftwareTile }
)

/** Values of `AttentionTiles.backward`. */
export const BACKWARD_VARIANTS: readonly string[] = ['plain', 'software']

/** The plans that a device can have for rows of these head dims, the preferred one first. */
export function backwardPlans(ctx: KernelContext, headDim: number, headDimV: number): BackwardPlan[] {
  const needed = Math.ceil(Math.max(headDim, headDimV) / 4)
  const { min, max } = ctx.subgroupSizes ?? {}
  const software = SOFTWARE_TILES.filter(({ SUBGROUP }) => SUBGROUP === min && SUBGROUP === max).map(
    (tile): BackwardPlan => ({ variant: 'software', tile, rowVectors: tile.VECTORS * tile.SUBGROUP }),
  )
  const plain = BACKWARD_TILES.map((tile): BackwardPlan => ({ variant: 'plain', tile, rowVectors: (tile.VECTORS * tile.WORKGROUP) / 8 }))
  return [software, plain].flatMap((plans) => plans.find(({ rowVectors }) => rowVectors >= needed) ?? [])
}

/** The plan of a call. @throws UnsupportedError if options ask for a variant that cannot do it */
export function backwardPlan(ctx: KernelContext, headDim: number, headDimV: number): BackwardPlan {
  const plans = backwardPlans(ctx, headDim, headDimV)
  const { backward } = ctx.attentionTiles
  const plan = backward === undefined ? plans[0] : plans.find(({ variant }) => variant === backward)
  if (!plan) {
    ctx.unsupported(
      'attentionBackward',
      `attentionTiles '${backward}' here: this call can have ${plans.map(({ variant }) => variant).join(', ')}`,
    )
  }
  return plan as BackwardPlan
}
