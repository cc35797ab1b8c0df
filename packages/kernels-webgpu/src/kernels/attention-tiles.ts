import type { AttentionProblem, BlockMask } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import type { Constants } from '../shader'

/** One way for the forward kernels to divide their work. */
export interface ForwardTile {
  /** What options and reports call it. */
  readonly name: string
  readonly variant: 'plain' | 'software' | 'subgroups'
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
  /** Bytes of workgroup memory, but for q, by bytes of an element and `VECTORS`. */
  readonly memory: (bytes: number, vectors: number) => number
  readonly invocations: number
}

/** @param stage vectors of K or V that workgroup memory holds at a time */
function plainTile(blockM: number, blockN: number, stage: number): ForwardTile {
  const [across, down] = [blockN / 4, blockM / 4]
  return {
    name: `plain-${blockM}x${blockN}`,
    variant: 'plain',
    blockM,
    leastRows: blockM / 2 + 1,
    blockN,
    columns: 4 * across,
    constants: { BLOCK_M: blockM, BLOCK_N: blockN, STAGE: stage },
    memory: (bytes) => 4 * bytes * stage + 16 * (across * blockM + across * down),
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
    memory: () => 0,
    invocations: lanes,
  }
}

/** Invocations of a workgroup of `subgroups`: a multiple of every size that WebGPU's subgroups may have, so that subgroups are full. */
const GROUPS_WORKGROUP = 128

/** @param lanes of a group @param rows of a group, each in the registers of all of its lanes */
function groupTile(lanes: number, rows: number, leastRows: number): ForwardTile {
  const blockM = (rows * GROUPS_WORKGROUP) / lanes
  return {
    name: `subgroups-${blockM}x${4 * lanes}`,
    variant: 'subgroups',
    blockM,
    leastRows,
    blockN: 4 * lanes,
    columns: 4 * lanes,
    constants: { SUBGROUPS: true, LANES: lanes, WORKGROUP: GROUPS_WORKGROUP, BLOCK_M: blockM, ROWS: rows },
    memory: (bytes, vectors) => bytes * 2 * 4 * lanes * vectors * 4 * lanes,
    invocations: GROUPS_WORKGROUP,
  }
}

/**
 * Tiles of shaders/attention-forward-subgroups.wgsl. Of every row of its group an invocation has 4 scores and 4·VECTORS elements of O in registers, at most MOST_SUMS in all, and two of
 * the maximum and the sum; besides, lanes²·VECTORS/8 elements that are fetched (16 at D 64; half as many registers in f16), some 20 of operands at hand
 * and 15 of places: 170 for 128 rows at D 64, 105 for 64 rows, 140 for 64 rows at D 128. More rows get more out of each vector that is read from workgroup memory,
 * and leave room for fewer invocations to hide its latency: which is the better is for tuneAttention to measure. Groups of 4 lanes are for
 * what has no subgroups of 8.
 */
export const GROUP_TILES: readonly ForwardTile[] = [groupTile(8, 8, 1024), groupTile(8, 4, 33), groupTile(8, 2, 17), groupTile(4, 2, 17)]

/** Registers of an invocation of `subgroups` that hold S and O: with more, compilers for GPUs spill, or leave room for too few invocations. */
const MOST_SUMS = 96

/** From the best to the least demanding. */
export const PLAIN_TILES: readonly ForwardTile[] = [
  plainTile(64, 32, 512),
  plainTile(32, 32, 512),
  plainTile(16, 32, 512),
  plainTile(4, 128, 512),
]

/** Workgroup memory up to which q is staged as well, what every device has: with more, too few workgroups share a multiprocessor. Else q is read where it lies. */
const MOST_WITH_Q = 16384

const bytesOf = (element: 'f32' | 'f16' = 'f32') => (element === 'f16' ? 2 : 4)

/** Head dims in fours that a tile can have room for in staged q: beside 0, those that fit in some element. */
function qPlanesMade(tile: ForwardTile, vectors: number): number[] {
  if (tile.variant === 'software') return [0]
  const all = tile.variant === 'plain' ? [16, 32, 64] : [(vectors * tile.columns) / 4]
  return [0, ...all.filter((planes) => withQ(tile, vectors, planes, 2) <= MOST_WITH_Q)]
}

const withQ = (tile: ForwardTile, vectors: number, planes: number, bytes: number) =>
  tile.memory(bytes, vectors) + 4 * bytes * planes * tile.blockM

/** A tile's constants for a number of vectors and of staged planes of q. */
function constantsWith(tile: ForwardTile, VECTORS: number, Q_PLANES: number): Constants {
  return tile.variant === 'software' ? { ...tile.constants, VECTORS } : { ...tile.constants, VECTORS, Q_PLANES }
}

/** Every set of constants that a tile is compiled with. */
export function tileVariants(tile: ForwardTile): Constants[] {
  return vectorsMade(tile).flatMap((vectors) => qPlanesMade(tile, vectors).map((planes) => constantsWith(tile, vectors, planes)))
}

/** Those for a call. */
export function tileConstants(tile: ForwardTile, shape: ForwardShape): Constants {
  const vectors = vectorsOf(tile, shape)
  const fits = (planes: number) => 4 * planes >= shape.headDim && withQ(tile, vectors, planes, bytesOf(shape.element)) <= MOST_WITH_Q
  return constantsWith(tile, vectors, qPlanesMade(tile, vectors).find(fits) ?? 0)
}

/** Sizes of subgroups that they are made for: the ones of adapters in software. */
export const SOFTWARE_TILES: readonly ForwardTile[] = [4, 8].flatMap((lanes) => [32, 16, 8, 4].map((rows) => softwareTile(lanes, rows)))

/** What a call asks of tiles. */
export interface ForwardShape {
  readonly headDim: number
  readonly headDimV: number
  readonly seqlenQ: number
  readonly totalK: number
  readonly nHeadsK: number
  /** Of q, k and v as kernels read them: f32 unless given. */
  readonly element?: 'f32' | 'f16'
  readonly blockMask?: Pick<BlockMask, 'blockM'> | undefined
}

/** Vectors of V's columns that an invocation holds for each row, the next number that tiles are made for; but for `plain` with room for as much of q. */
export function vectorsOf(tile: ForwardTile, { headDim, headDimV }: ForwardShape): number {
  const most = Math.ceil((tile.variant === 'plain' ? headDimV : Math.max(headDim, headDimV)) / tile.columns)
  return vectorsMade(tile).find((vectors) => vectors >= most) ?? most
}

/** Vectors of sums of a lane for which tiles in software are made, for each of their lanes: more take long to compile, and do not fit into a processor's nearest caches. */
const MOST_VECTORS = 16

/** The numbers of vectors for which a tile is made. */
export function vectorsMade(tile: ForwardTile): number[] {
  const all = Array.from({ length: 5 }, (_, i) => 2 ** i).filter((vectors) => vectors * tile.columns < 2 * 256)
  if (tile.variant === 'plain') return all
  if (tile.variant === 'software') return all.filter((vectors) => vectors <= 8 && vectors * tile.blockM <= MOST_VECTORS * tile.invocations)
  const rows = tile.constants.ROWS as number
  // Head dims of 96 and, rounded up to it, 80 are common.
  const headDims = [32, 64, 96, 128, 256]
  return headDims.map((headDim) => headDim / tile.columns).filter((vectors) => rows * 4 * (vectors + 1) <= MOST_SUMS)
}

/** Query rows up to which GPUs prefer `plain`. */
const FEW_ROWS = 16

/** The tiles that can do a call on a device, the preferred one first. */
export function forwardTiles(ctx: KernelContext, shape: ForwardShape): ForwardTile[] {
  const { seqlenQ, element, blockMask } = shape
  const { limits } = ctx
  const { min, max } = (ctx.features.has('subgroups') && ctx.subgroupSizes) || { min: 0, max: 0 }
  const fits = (tile: ForwardTile) => {
    const vectors = vectorsOf(tile, shape)
    return (
      (tile.variant !== 'software' || texelsOfKeys(shape) <= ctx.mostTexels) &&
      tile.memory(bytesOf(element), vectors) <= limits.maxComputeWorkgroupStorageSize &&
      tile.invocations <= limits.maxComputeInvocationsPerWorkgroup &&
      vectorsMade(tile).includes(vectors) &&
      // A block of rows lies within one of the mask's.
      (blockMask?.blockM ?? tile.blockM) % tile.blockM === 0
    )
  }
  // Of a variant first those that there are rows for, then the smallest.
  const inOrder = (tiles: readonly ForwardTile[]) => [
    ...tiles.filter(({ leastRows }) => seqlenQ >= leastRows),
    ...tiles.filter(({ leastRows }) => seqlenQ < leastRows).reverse(),
  ]
  const software = SOFTWARE_TILES.filter(({ constants }) => min === max && constants.LANES === min)
  const groupsOf = (lanes: number) => GROUP_TILES.filter(({ constants }) => lanes <= min && constants.LANES === lanes)
  // GPUs have subgroups of 16 lanes or more, or of several sizes. Few rows are for plain-4x128, in which all invocations of a workgroup share them.
  const order =
    min >= 16 && seqlenQ > FEW_ROWS ? [groupsOf(8), PLAIN_TILES, groupsOf(4)] : [software, PLAIN_TILES, groupsOf(8), groupsOf(4)]
  return order.flatMap((tiles) => inOrder(tiles.filter(fits)))
}

/** Vectors of the larger one of k and v, padded to whole ones. */
function texelsOfKeys({ totalK, nHeadsK, headDim, headDimV }: ForwardShape): number {
  return totalK * nHeadsK * Math.ceil(Math.max(headDim, headDimV) / 4)
}

/** Names that `AttentionTiles.forward` may have. */
export function forwardTileNames(): string[] {
  const tiles = [...GROUP_TILES, ...SOFTWARE_TILES, ...PLAIN_TILES]
  return [...new Set(tiles.flatMap(({ variant, name }) => [variant, name]))]
}

type Sizes = Pick<AttentionProblem, 'batchSize' | 'seqlenQ' | 'seqlenK' | 'nHeads' | 'headDim' | 'headDimV' | 'dtype'>

/** Calls that share a measured choice: those of one dtype and head dim, whose lengths and heads are the same powers of two. */
export function shapeClass({ batchSize, seqlenQ, seqlenK, nHeads, headDim, headDimV, dtype }: Sizes): string {
  const upTo = (count: number) => 2 ** Math.ceil(Math.log2(Math.max(1, count)))
  return `${dtype} D ${headDim}/${headDimV} Sq ${upTo(seqlenQ)} Sk ${upTo(seqlenK)} heads ${upTo(batchSize * nHeads)}`
}

/** The tile of a call: what options ask for, or what was measured, or the preferred one. @throws UnsupportedError if options ask for one that cannot do it */
export function forwardTile(ctx: KernelContext, problem: AttentionProblem, element: 'f32' | 'f16' = 'f32'): ForwardTile {
  const tiles = forwardTiles(ctx, { ...problem, element })
  const asked = ctx.attentionTiles.forward
  const wanted = asked ?? (ctx.measuredTiles.size > 0 ? ctx.measuredTiles.get(shapeClass(problem)) : undefined)
  const tile = wanted === undefined ? tiles[0] : tiles.find(({ name, variant }) => name === wanted || variant === wanted)
  if (tile || asked === undefined) return tile ?? (tiles[0] as ForwardTile)
  const names = tiles.map(({ name }) => name).join(', ')
  return ctx.unsupported('attentionForward', `attentionTiles '${asked}' here: this call can have ${names}`)
}
