import type { KernelContext } from '../kernel-context'
import type { Constants } from '../shader'

/** One way for the forward kernels to divide their work. */
export interface ForwardTile {
  /** What options and reports call it. */
  readonly name: string
  readonly variant: 'plain' | 'subgroups'
  /** Query rows of a workgroup. */
  readonly blockM: number
  /** Keys of a tile. */
  readonly blockN: number
  /** Columns of V that a vector of each invocation in a row covers: with `VECTORS` of them at least headDimV. */
  readonly columns: number
  /** By the prelude's names. */
  readonly constants: Constants
  /** Bytes of workgroup memory. */
  readonly memory: number
  readonly invocations: number
}

/** @param stage vectors of K or V that workgroup memory holds at a time @param qPlanes head dims in fours that the Q tile has room for, 0: it is read where it lies */
function plainTile(blockM: number, blockN: number, stage: number, qPlanes: number): ForwardTile {
  const [across, down] = [blockN / 4, blockM / 4]
  return {
    name: `plain-${blockM}x${blockN}`,
    variant: 'plain',
    blockM,
    blockN,
    columns: 4 * across,
    constants: { BLOCK_M: blockM, BLOCK_N: blockN, STAGE: stage, Q_PLANES: qPlanes },
    memory: 16 * (stage + Math.max(1, 4 * qPlanes * down) + across * blockM + across * down),
    invocations: across * down,
  }
}

function subgroupTile(lanes: number, rows: number): ForwardTile {
  return {
    name: `subgroups-${rows}`,
    variant: 'subgroups',
    blockM: rows,
    blockN: 4 * lanes,
    columns: 4 * lanes,
    constants: { SUBGROUPS: true, LANES: lanes, QUADS: rows / 4 },
    memory: 0,
    invocations: lanes,
  }
}

/** From the best to the least demanding. */
export const PLAIN_TILES: readonly ForwardTile[] = [
  plainTile(64, 32, 512, 0),
  plainTile(32, 32, 512, 0),
  plainTile(16, 32, 512, 0),
  plainTile(4, 128, 512, 0),
]

/** Sizes of subgroups that they are made for: the ones of adapters in software. */
export const SUBGROUP_TILES: readonly ForwardTile[] = [4, 8].flatMap((lanes) => [16, 8, 4].map((rows) => subgroupTile(lanes, rows)))

/** What a call asks of tiles. */
export interface ForwardShape {
  readonly headDimV: number
  readonly seqlenQ: number
}

/** Vectors of V's columns that an invocation holds for each row: a power of two. */
export function vectorsOf({ columns }: ForwardTile, headDimV: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, headDimV / columns)))
}

/** Vectors of sums of an invocation for which subgroups' tiles are made: more take long to compile. */
const MOST_VECTORS = 32

/** The numbers of vectors for which a tile is made. */
export function vectorsMade(tile: ForwardTile): number[] {
  const all = Array.from({ length: 5 }, (_, i) => 2 ** i).filter((vectors) => vectors * tile.columns < 2 * 256)
  return tile.variant === 'plain' ? all : all.filter((vectors) => vectors * tile.blockM <= MOST_VECTORS || tile.blockM === 4)
}

/** The tiles that can do a call on a device, the preferred one first. */
export function forwardTiles(ctx: KernelContext, { headDimV, seqlenQ }: ForwardShape): ForwardTile[] {
  const { limits, subgroupSizes } = ctx
  const lanes = subgroupSizes && subgroupSizes.min === subgroupSizes.max && ctx.features.has('subgroups') ? subgroupSizes.min : 0
  const fits = (tile: ForwardTile) =>
    tile.memory <= limits.maxComputeWorkgroupStorageSize &&
    tile.invocations <= limits.maxComputeInvocationsPerWorkgroup &&
    vectorsMade(tile).includes(vectorsOf(tile, headDimV))
  // Of a variant first those that query rows fill by half, then the smallest.
  const inOrder = (tiles: readonly ForwardTile[]) => [
    ...tiles.filter(({ blockM }) => 2 * seqlenQ > blockM),
    ...tiles.filter(({ blockM }) => 2 * seqlenQ <= blockM).reverse(),
  ]
  return [SUBGROUP_TILES.filter(({ constants }) => constants.LANES === lanes), PLAIN_TILES].flatMap((tiles) => inOrder(tiles.filter(fits)))
}

/** Names that `AttentionTiles.forward` may have. */
export function forwardTileNames(): string[] {
  const tiles = [...SUBGROUP_TILES, ...PLAIN_TILES]
  return [...new Set(tiles.flatMap(({ variant, name }) => [variant, name]))]
}

/** The tile of a call. @throws UnsupportedError if options ask for one that cannot do it */
export function forwardTile(ctx: KernelContext, shape: ForwardShape): ForwardTile {
  const tiles = forwardTiles(ctx, shape)
  const { forward } = ctx.attentionTiles
  const tile = forward === undefined ? tiles[0] : tiles.find(({ name, variant }) => name === forward || variant === forward)
  if (!tile)
    ctx.unsupported('attentionForward', `attentionTiles '${forward}' here: this call can have ${tiles.map(({ name }) => name).join(', ')}`)
  return tile as ForwardTile
}
