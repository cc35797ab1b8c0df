import type { AttentionProblem } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import type { Constants } from '../shader'

/** One way for the forward kernels to divide their work. */
export interface ForwardTile {
  /** What options and reports call it. */
  readonly name: string
  readonly variant: 'plain' | 'software'
  /** Query rows of a workgroup. */
  readonly blockM: number
  /** Fewer query rows than these are better done by a smaller tile. */
  readonly leastRows: number
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
    leastRows: blockM / 2 + 1,
    blockN,
    columns: 4 * across,
    constants: { BLOCK_M: blockM, BLOCK_N: blockN, STAGE: stage, Q_PLANES: qPlanes },
    memory: 16 * (stage + Math.max(1, 4 * qPlanes * down) + across * blockM + across * down),
    invocations: across * down,
  }
}

function softwareTile(lanes: number, rows: number): ForwardTile {
  return {
    name: `software-${rows}`,
    variant: 'software',
    blockM: rows,
    // Of few rows, smaller blocks occupy more of a processor's threads.
    leastRows: rows === 32 ? 64 : rows / 2 + 1,
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
export const SOFTWARE_TILES: readonly ForwardTile[] = [4, 8].flatMap((lanes) => [32, 16, 8, 4].map((rows) => softwareTile(lanes, rows)))

/** What a call asks of tiles. */
export interface ForwardShape {
  readonly headDim: number
  readonly headDimV: number
  readonly seqlenQ: number
  readonly totalK: number
  readonly nHeadsK: number
}

/** Vectors of V's columns that an invocation holds for each row, a power of two; those in software have room for as much of q. */
export function vectorsOf({ columns, variant }: ForwardTile, { headDim, headDimV }: ForwardShape): number {
  const most = variant === 'software' ? Math.max(headDim, headDimV) : headDimV
  return 2 ** Math.ceil(Math.log2(Math.max(1, most / columns)))
}

/** Vectors of sums of a lane for which tiles in software are made: more take long to compile, and do not fit into a processor's nearest caches. */
const MOST_VECTORS = 64

/** The numbers of vectors for which a tile is made. */
export function vectorsMade(tile: ForwardTile): number[] {
  const all = Array.from({ length: 5 }, (_, i) => 2 ** i).filter((vectors) => vectors * tile.columns < 2 * 256)
  return tile.variant === 'plain' ? all : all.filter((vectors) => vectors <= 8 && vectors * tile.blockM <= MOST_VECTORS)
}

/** The tiles that can do a call on a device, the preferred one first. */
export function forwardTiles(ctx: KernelContext, shape: ForwardShape): ForwardTile[] {
  const { seqlenQ } = shape
  const { limits, subgroupSizes } = ctx
  const lanes = subgroupSizes && subgroupSizes.min === subgroupSizes.max && ctx.features.has('subgroups') ? subgroupSizes.min : 0
  const fits = (tile: ForwardTile) =>
    (tile.variant !== 'software' || texelsOfKeys(shape) <= ctx.mostTexels) &&
    tile.memory <= limits.maxComputeWorkgroupStorageSize &&
    tile.invocations <= limits.maxComputeInvocationsPerWorkgroup &&
    vectorsMade(tile).includes(vectorsOf(tile, shape))
  // Of a variant first those that there are rows for, then the smallest.
  const inOrder = (tiles: readonly ForwardTile[]) => [
    ...tiles.filter(({ leastRows }) => seqlenQ >= leastRows),
    ...tiles.filter(({ leastRows }) => seqlenQ < leastRows).reverse(),
  ]
  return [SOFTWARE_TILES.filter(({ constants }) => constants.LANES === lanes), PLAIN_TILES].flatMap((tiles) => inOrder(tiles.filter(fits)))
}

/** Vectors of the larger one of k and v, padded to whole ones. */
function texelsOfKeys({ totalK, nHeadsK, headDim, headDimV }: ForwardShape): number {
  return totalK * nHeadsK * Math.ceil(Math.max(headDim, headDimV) / 4)
}

/** Names that `AttentionTiles.forward` may have. */
export function forwardTileNames(): string[] {
  const tiles = [...SOFTWARE_TILES, ...PLAIN_TILES]
  return [...new Set(tiles.flatMap(({ variant, name }) => [variant, name]))]
}

type Sizes = Pick<AttentionProblem, 'batchSize' | 'seqlenQ' | 'seqlenK' | 'nHeads' | 'headDim' | 'headDimV' | 'dtype'>

/** Calls that share a measured choice: those of one dtype and head dim, whose lengths and heads are the same powers of two. */
export function shapeClass({ batchSize, seqlenQ, seqlenK, nHeads, headDim, headDimV, dtype }: Sizes): string {
  const upTo = (count: number) => 2 ** Math.ceil(Math.log2(Math.max(1, count)))
  return `${dtype} D ${headDim}/${headDimV} Sq ${upTo(seqlenQ)} Sk ${upTo(seqlenK)} heads ${upTo(batchSize * nHeads)}`
}

/** The tile of a call: what options ask for, or what was measured, or the preferred one. @throws UnsupportedError if options ask for one that cannot do it */
export function forwardTile(ctx: KernelContext, problem: AttentionProblem): ForwardTile {
  const tiles = forwardTiles(ctx, problem)
  const asked = ctx.attentionTiles.forward
  const wanted = asked ?? (ctx.measuredTiles.size > 0 ? ctx.measuredTiles.get(shapeClass(problem)) : undefined)
  const tile = wanted === undefined ? tiles[0] : tiles.find(({ name, variant }) => name === wanted || variant === wanted)
  if (tile || asked === undefined) return tile ?? (tiles[0] as ForwardTile)
  const names = tiles.map(({ name }) => name).join(', ')
  return ctx.unsupported('attentionForward', `attentionTiles '${asked}' here: this call can have ${names}`)
}
