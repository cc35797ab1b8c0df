import { deviceThreads } from '../job'
import { percent, type Row, rate } from '../results'

export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

export function milliseconds({ timing }: Row): string {
  if (timing === null) return ''
  const ms = timing.median * 1e3
  return ms < 1000 ? ms.toPrecision(3) : ms.toFixed(0)
}

export function threadsOf(threads: number): string {
  if (threads === deviceThreads) return 'the device'
  return `${threads} ${threads === 1 ? 'thread' : 'threads'}`
}

/**
 * One table for each `title`, a line for each `line` and a column for each contender: ms, GFLOP/s (or what `speed` makes of FLOP/s) and its share of
 * the peak. Reasons of rows without a time stand below, each once.
 */
export function pivot(
  rows: readonly Row[],
  title: (row: Row) => string,
  line: (row: Row) => string,
  corner: string,
  speed: (perSecond: number | null) => string = rate,
): string[] {
  return groups(rows, title).map(([heading, group]) => {
    const contenders = [...new Set(group.map(({ contender }) => contender))]
    const reasons: string[] = []
    const cell = (row: Row | undefined) => {
      if (row === undefined) return ''
      if (row.timing !== null) return [milliseconds(row), speed(row.flopsPerSecond), percent(row.shareOfPeak)].filter(Boolean).join(' / ')
      if (!reasons.includes(row.rejected ?? '')) reasons.push(row.rejected ?? '')
      return `no time (${reasons.indexOf(row.rejected ?? '') + 1})`
    }
    const lines = groups(group, line).map(([name, of]) => [
      name,
      ...contenders.map((contender) => cell(of.find((row) => row.contender === contender))),
    ])
    const notes = reasons.map((reason, i) => `(${i + 1}) ${reason}`)
    return [`**${heading}**`, table([corner, ...contenders], lines), ...notes].join('\n\n')
  })
}

/** In the order in which keys appear first. */
export function groups<T>(items: readonly T[], key: (item: T) => string): [string, T[]][] {
  const found = new Map<string, T[]>()
  for (const item of items) found.set(key(item), [...(found.get(key(item)) ?? []), item])
  return [...found]
}
