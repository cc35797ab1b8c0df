import {
  flashBackwardIo,
  flashForwardIo,
  type IoBytes,
  standardBackwardIo,
  standardForwardIo,
  tilesForFastMemory,
} from '@tilegrad/core-math'
import { mebibytes, type Row } from '../results'
import { milliseconds, table } from './markdown'

/** Of FlashAttention (arXiv 2205.14135): standard over flash, whole forward and backward pass on an A100. */
const memoryRatiosOfPaper = new Map([
  [2048, 10.6],
  [4096, 20.4],
])
/** What the kernels' tiles are chosen for, where the system tells no cache sizes. */
const defaultCaches = { L1d: 32 * 1024, L2: 1024 * 1024 }

/** Flash beside standard attention: time, memory and the bytes that the IO model counts for a fast memory of the size of L2 and of L1. */
export function memoryTable(rows: readonly Row[], caches: readonly string[]): string {
  const flash = rows.filter(({ contender }) => contender === 'native')
  const cells = flash.map((row) => {
    const standard = rows.find(
      ({ name, threads, contender }) => name === row.name && threads === row.threads && contender === 'standard-native',
    )
    const [ours, theirs] = [tensorBytes(row), tensorBytes(standard)]
    const paper = row.parameters.pass === 'forward+backward' ? memoryRatiosOfPaper.get(Number(row.parameters.seqlenQ)) : undefined
    const ratio = ours === null || theirs === null ? '' : `${(theirs / ours).toFixed(1)}×${paper === undefined ? '' : ` (paper ${paper}×)`}`
    const speedup = row.timing && standard?.timing ? `${(standard.timing.median / row.timing.median).toFixed(2)}×` : ''
    const sizes = [ours, theirs].map((bytes) => (bytes === null ? '' : mebibytes(bytes)))
    return [row.name, timeOrReason(row), standard ? timeOrReason(standard) : '', speedup, ...sizes, ratio, ...countedMebibytes(row, caches)]
  })
  const of = (level: keyof typeof defaultCaches) => `${level === 'L2' ? 'L2' : 'L1'} (${cacheBytes(caches, level) / 1024} KiB)`
  const header = [
    ...['one head', 'flash ms', 'standard ms', 'speedup', 'flash MiB', 'standard MiB', 'memory'],
    ...[`counted MiB: flash, M = ${of('L2')}`, `flash, M = ${of('L1d')}`, 'standard'],
  ]
  return [
    `${movingTime(rows)}MiB are peaks of tensors, inputs included, the backend's constant scratch memory not. Counted MiB are what the IO model of core-math counts`,
    'between memory and a fast memory of size M (FlashAttention, theorem 2), with the tiles of its algorithm 1 for that M.\n',
    table(header, cells),
  ].join('\n')
}

/** What the counted bytes mean beside the measured times. */
function movingTime(rows: readonly Row[]): string {
  const bandwidth = Math.max(0, ...rows.map(({ peak }) => peak?.bytesPerSecond ?? 0))
  if (bandwidth === 0) return ''
  const ms = ((100 * 2 ** 20) / bandwidth) * 1e3
  return `At the measured memory peak of ${(bandwidth / 1e9).toFixed(0)} GB/s, moving 100 MiB takes ${ms.toFixed(1)} ms.\n`
}

/** With q, k, v and, backward, dout, which the paper's figures have in them too. */
export function tensorBytes(row: Row | undefined): number | null {
  if (typeof row?.memory?.tensorBytes !== 'number') return null
  const { batchSize, nHeads, headDim, seqlenQ, pass } = row.parameters
  const inputs = pass === 'forward+backward' ? 4 : 3
  return row.memory.tensorBytes + 4 * inputs * Number(batchSize) * Number(nHeads) * Number(headDim) * Number(seqlenQ)
}

function timeOrReason(row: Row): string {
  return row.timing === null ? `no time: ${row.rejected}` : milliseconds(row)
}

function countedMebibytes({ parameters }: Row, caches: readonly string[]): string[] {
  const headDim = Number(parameters.headDim)
  const [seqlenQ, seqlenK] = [Number(parameters.seqlenQ), Number(parameters.seqlenK)]
  const unlimited = { diagonalMin: Number.NEGATIVE_INFINITY, diagonalMax: parameters.causal ? seqlenK - seqlenQ : Number.POSITIVE_INFINITY }
  const heads = Number(parameters.batchSize) * Number(parameters.nHeads)
  const problem = { heads, seqlenQ, seqlenK, headDim, headDimV: headDim, bytesPerElement: 4, ...unlimited }
  const backward = parameters.pass === 'forward+backward'
  const total = (...counts: IoBytes[]) => mebibytes(counts.reduce((sum, { loads, stores }) => sum + loads + stores, 0))
  const flash = (cache: keyof typeof defaultCaches) => {
    const tiles = (outer: 'queries' | 'keys') => tilesForFastMemory(cacheBytes(caches, cache) / 4, headDim, outer)
    return total(flashForwardIo(problem, tiles('queries')), ...(backward ? [flashBackwardIo(problem, tiles('keys'))] : []))
  }
  return [flash('L2'), flash('L1d'), total(standardForwardIo(problem), ...(backward ? [standardBackwardIo(problem)] : []))]
}

export function cacheBytes(caches: readonly string[], level: keyof typeof defaultCaches): number {
  const [, size, unit] = caches.map((cache) => new RegExp(`^${level} (\\d+)([KM])$`).exec(cache)).find((match) => match !== null) ?? []
  return size === undefined ? defaultCaches[level] : Number(size) * (unit === 'M' ? 2 ** 20 : 2 ** 10)
}
