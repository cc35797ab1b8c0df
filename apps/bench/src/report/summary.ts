import { type Contender, peers, runtimeOf, webgpuPeers } from '../job'
import type { Row } from '../results'
import { groups, table } from './markdown'

/** From here on, starting threads and packing are small beside the work. */
const longSeqlen = 2048

/** Attention in a line per runtime, pass and mask: shares of the peak over all D and thread counts, and how far ahead of the fastest peer of that runtime. */
export function attentionSummary(rows: readonly Row[]): string {
  const ours = rows.filter(({ contender, timing }) => timing !== null && /^(native|wasm|webgpu.*)$/.test(contender))
  const lines = groups(
    ours,
    ({ contender, parameters }) => `${contender} ${parameters.pass}, ${parameters.causal ? 'causal' : 'full'}`,
  ).map(([name, of]) => {
    const shares = (long: boolean) =>
      range(
        of
          .filter(({ parameters }) => Number(parameters.seqlenQ) >= longSeqlen === long)
          .flatMap(({ shareOfPeak }) => (shareOfPeak === null ? [] : [shareOfPeak * 100])),
        ' %',
        0,
      )
    return [
      name,
      shares(false),
      shares(true),
      range(
        of.flatMap((row) => leads(row, rows)),
        '×',
        1,
      ),
    ]
  })
  return table(['attention', `of peak, N < ${longSeqlen}`, `of peak, N ≥ ${longSeqlen}`, 'faster than the fastest peer'], lines)
}

/** How many times as fast as the fastest peer of the same runtime, shape and thread count, if one has a time. */
function leads(row: Row, rows: readonly Row[]): number[] {
  const medians = rows
    .filter(({ name, threads, contender }) => name === row.name && threads === row.threads && peerNames.includes(contender))
    .filter(({ contender }) => runtimeOf(contender as Contender) === runtimeOf(row.contender as Contender))
    .flatMap(({ timing }) => (timing === null ? [] : [timing.median]))
  return medians.length === 0 || row.timing === null ? [] : [Math.min(...medians) / row.timing.median]
}

const peerNames: readonly string[] = [...peers, ...webgpuPeers]

function range(values: readonly number[], unit: string, digits: number): string {
  if (values.length === 0) return ''
  const [low, high] = [Math.min(...values).toFixed(digits), Math.max(...values).toFixed(digits)]
  return `${low === high ? low : `${low} … ${high}`}${unit}`
}
