import { flashBackwardIo, flashForwardIo, HeadMask, type IoProblem, type TileSizes, visitedShare } from '@tilegrad/core-math'
import type { BlockMask } from '@tilegrad/tensor'
import { groups, milliseconds, table, threadsOf } from '../report/markdown'
import { mebibytes, percent, type Row, rate } from '../results'
import { allowedOverhead, fitCost, type LinearCost, shareOfAllowed } from './fit'
import { blockMaskOf, type MaskSpec } from './masks'
import { paperForward, paperForwardBackward, paperValue } from './paper'
import { blockSizeOf } from './plan'

/** A row with a time, and what the IO model counts for it. */
export interface CountedRow {
  readonly row: Row
  readonly pass: string
  readonly seqlen: number
  /** Null without a block mask. */
  readonly mask: BlockMask | null
  /** Share of all tiles that are visited. */
  readonly s: number
  readonly tiles: number
  /** Loads and stores. */
  readonly bytes: number
  readonly seconds: number
}

/** One thread count, pass and N, with the cost that does not depend on s. */
export interface SparsityGroup {
  readonly title: string
  readonly dense: CountedRow
  readonly sparse: readonly CountedRow[]
  readonly cost: LinearCost
}

export function sparsitySection(rows: readonly Row[]): string[] {
  const found = sparsityGroups(rows)
  if (found.length === 0) return []
  return [
    '## Block sparsity',
    `Attention that visits the share s of all tiles, one head, under random block lists with the diagonal and the same work in each row and column,
and under FlashAttention's butterfly. Dense is the same call without a mask. The fixed cost is that of the line through the times over s, by least relative
squares; allowed is ${allowedOverhead} × (s × dense) + fixed. Counted bytes are the loads and stores that the IO model of core-math counts for tiles of the mask's
size (FlashAttention, proposition 4: Θ(ND + s·N²D²/M)).`,
    '![Time and counted bytes over s](plots/sparsity.svg)',
    summaryTable(found),
    ...found.flatMap((group) => [`**${group.title}**`, groupTable(group)]),
    ...paperTable(found),
  ]
}

export function sparsityGroups(rows: readonly Row[]): SparsityGroup[] {
  const of = rows.filter(({ benchmark, timing }) => benchmark === 'sparsity' && timing !== null).map(counted)
  const title = ({ row, pass, seqlen }: CountedRow) => {
    const { nHeads, headDim } = row.parameters
    const other = row.contender === 'native' ? '' : `, ${row.contender}`
    return `${pass}, N ${seqlen} H ${nHeads} D ${headDim}, ${threadsOf(row.threads)}${other}`
  }
  return groups(of, title).flatMap(([name, all]) => {
    const dense = all.find(({ mask }) => mask === null)
    const sparse = all.filter(({ mask }) => mask !== null)
    const balanced = sparse.filter(({ row }) => row.parameters.kind === 'balanced')
    if (!dense || balanced.length < 2) return []
    return [{ title: name, dense, sparse, cost: fitCost(balanced) }]
  })
}

function counted(row: Row): CountedRow {
  const { pass, seqlenQ, headDim, nHeads, batchSize } = row.parameters
  const seqlen = Number(seqlenQ)
  const mask = row.parameters.kind === 'dense' ? null : blockMaskOf(row.parameters as unknown as MaskSpec, seqlen)
  const side = blockSizeOf(seqlen)
  const tiles = { blockM: side, blockN: side }
  const problem: IoProblem = {
    heads: Number(batchSize) * Number(nHeads),
    ...{ seqlenQ: seqlen, seqlenK: seqlen, headDim: Number(headDim), headDimV: Number(headDim), bytesPerElement: 4 },
    ...{ diagonalMin: Number.NEGATIVE_INFINITY, diagonalMax: Number.POSITIVE_INFINITY },
    ...(mask && { mask: new HeadMask(mask, 0, 0) }),
  }
  const s = visitedShare(problem, tiles)
  const bytes = ioBytes(problem, tiles, String(pass))
  const all = Math.ceil(seqlen / tiles.blockM) * Math.ceil(seqlen / tiles.blockN)
  return { row, pass: String(pass), seqlen, mask, s, tiles: Math.round(s * all), bytes, seconds: row.timing?.median ?? Number.NaN }
}

function ioBytes(problem: IoProblem, tiles: TileSizes, pass: string): number {
  const { loads, stores } = pass === 'forward' ? flashForwardIo(problem, tiles) : flashBackwardIo(problem, tiles)
  return loads + stores
}

function summaryTable(found: readonly SparsityGroup[]): string {
  const lines = found.map(({ title, dense, sparse, cost }) => {
    const shares = sparse.map((point) => shareOfAllowed(point, dense.seconds, cost))
    return [
      title,
      milliseconds(dense.row),
      (cost.fixed * 1e3).toPrecision(3),
      percent(cost.fixed / dense.seconds),
      `${(cost.slope / dense.seconds).toFixed(2)} ×`,
      `${(Math.max(...shares) * 100).toFixed(0)} %`,
      `${shares.filter((share) => share <= 1).length} of ${shares.length}`,
    ]
  })
  return table(['attention', 'dense ms', 'fixed ms', 'of dense', 'rest: s × dense ×', 'most of allowed', 'within'], lines)
}

function groupTable({ dense, sparse, cost }: SparsityGroup): string {
  const line = (point: CountedRow) => [
    point.mask === null ? 'dense' : String(point.row.parameters.kind),
    fraction(point.s),
    String(point.tiles),
    milliseconds(point.row),
    percent(point.seconds / dense.seconds),
    point.mask === null ? '' : `${(shareOfAllowed(point, dense.seconds, cost) * 100).toFixed(0)} %`,
    rate(point.row.flopsPerSecond),
    percent(point.row.shareOfPeak),
    mebibytes(point.bytes),
    percent(point.bytes / dense.bytes),
  ]
  const header = ['mask', 's', 'tiles', 'ms', 'of dense', 'of allowed', 'GFLOP/s', 'of peak', 'counted MiB', 'of dense']
  return table(header, [dense, ...sparse].map(line))
}

function fraction(s: number): string {
  return s === 1 ? '1' : `1/${Number((1 / s).toFixed(1))}`
}

/** Dense over butterfly beside flash over block-sparse of the paper, whose mask is a butterfly too. */
function paperTable(found: readonly SparsityGroup[]): string[] {
  const butterflies = found.flatMap(({ dense, sparse }) => {
    const butterfly = sparse.find(({ row }) => row.parameters.kind === 'butterfly')
    return butterfly ? [{ dense, butterfly }] : []
  })
  const setting = ({ dense }: (typeof butterflies)[number]) => `${dense.row.contender} ${dense.row.threads} ${dense.seqlen}`
  const lines = groups(butterflies, setting).flatMap(([, of]) => {
    const [forward, backward] = ['forward', 'backward'].map((pass) => of.find(({ dense }) => dense.pass === pass))
    if (!forward || !backward) return []
    const { seqlen, row } = forward.dense
    const [flash, sparse] = [forward.dense.seconds + backward.dense.seconds, forward.butterfly.seconds + backward.butterfly.seconds]
    const paper = (lines: typeof paperForward | typeof paperForwardBackward) => {
      const [dense, blockSparse] = [paperValue(lines, 'flash', seqlen), paperValue(lines, 'block-sparse flash', seqlen)]
      return dense && blockSparse ? `${dense} / ${blockSparse} = ${(dense / blockSparse).toFixed(1)} ×` : ''
    }
    const ours = (a: number, b: number) => `${shortMs(a)} / ${shortMs(b)} = ${(a / b).toFixed(1)} ×`
    return [
      [
        `${seqlen}, ${threadsOf(row.threads)}`,
        fraction(forward.butterfly.s),
        ours(forward.dense.seconds, forward.butterfly.seconds),
        paper(paperForward),
        ours(flash, sparse),
        paper(paperForwardBackward),
      ],
    ]
  })
  if (lines.length === 0) return []
  const passes = ['forward, ms', 'forward, paper', 'with gradients, ms', 'with gradients, paper']
  return [
    'Dense over butterfly, beside flash over block-sparse attention of the paper (arXiv 2205.14135, tables 9 to 21: A100, 128 heads, fp16), which does not state its s:',
    table(['N', 's of ours', ...passes], lines),
  ]
}

function shortMs(seconds: number): string {
  const ms = seconds * 1e3
  return ms < 1000 ? ms.toPrecision(3) : ms.toFixed(0)
}
