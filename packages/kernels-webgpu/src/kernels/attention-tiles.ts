import type { KernelContext } from '../kernel-context'

/** How the forward kernel divides its work: see shaders/attention-forward.wgsl. By the prelude's names. */
export interface ForwardTile {
  /** Query rows of a workgroup. */
  readonly BLOCK_M: number
  /** Invocations: the keys of a tile, and at least headDimV. */
  readonly WORKGROUP: number
  /** Vectors of four elements of q that fit: 4·PLANES ≥ headDim. */
  readonly PLANES: number
}

/** By head dim, then from many rows to few: the first that the device's limits allow and that query rows fill by half.
 * More than 16 rows take software drivers many seconds to compile. */
export const FORWARD_TILES: readonly ForwardTile[] = [
  { BLOCK_M: 16, WORKGROUP: 64, PLANES: 16 },
  { BLOCK_M: 4, WORKGROUP: 64, PLANES: 16 },
  { BLOCK_M: 16, WORKGROUP: 128, PLANES: 32 },
  { BLOCK_M: 8, WORKGROUP: 128, PLANES: 32 },
  { BLOCK_M: 4, WORKGROUP: 128, PLANES: 32 },
  { BLOCK_M: 8, WORKGROUP: 256, PLANES: 64 },
  { BLOCK_M: 4, WORKGROUP: 256, PLANES: 64 },
]

/** Bytes of workgroup memory that shaders/attention-forward.wgsl declares. */
function forwardMemory({ BLOCK_M, WORKGROUP, PLANES }: ForwardTile): number {
  return 4 * BLOCK_M * (4 * PLANES + WORKGROUP + 2) + 16 * WORKGROUP + 16
}

export function forwardTile(ctx: KernelContext, headDim: number, headDimV: number, seqlenQ: number): ForwardTile {
  const fits = FORWARD_TILES.filter(
    (tile) => 4 * tile.PLANES >= headDim && tile.WORKGROUP >= headDimV && forwardMemory(tile) <= ctx.limits.maxComputeWorkgroupStorageSize,
  )
  // Of those of the smallest head dim, the largest block that query rows fill by half, or else the smallest.
  const same = fits.filter(({ PLANES }) => PLANES === fits[0]?.PLANES)
  return (same.find(({ BLOCK_M }) => 2 * seqlenQ > BLOCK_M) ?? same.at(-1)) as ForwardTile
}

/** How the backward kernels divide their work. */
export interface BackwardTile {
  /** Keys, or query rows, of a workgroup. */
  readonly BLOCK: number
  /** Invocations: the query rows, or keys, of a tile, and at least headDim and headDimV. */
  readonly WORKGROUP: number
  /** Vectors of four elements that fit: 4·PLANES ≥ headDim and headDimV. */
  readonly PLANES: number
}

/** By head dim; each takes at most the 16 KiB of workgroup memory that every device has. */
export const BACKWARD_TILES: readonly BackwardTile[] = [
  { BLOCK: 8, WORKGROUP: 64, PLANES: 16 },
  { BLOCK: 8, WORKGROUP: 128, PLANES: 32 },
  { BLOCK: 4, WORKGROUP: 256, PLANES: 64 },
]

export function backwardTile(headDim: number, headDimV: number): BackwardTile {
  return BACKWARD_TILES.find(({ WORKGROUP }) => WORKGROUP >= Math.max(headDim, headDimV)) as BackwardTile
}
