import { isDeepStrictEqual } from 'node:util'
import type { Report, Row } from '../results'
import { groups } from './markdown'

/** Of each machine one report of all its runs, in the order in which machines appear first. */
export function reportsByMachine(reports: readonly Report[]): Report[] {
  const machines = groups(reports, ({ machine: { commit: _, ...machine } }) => JSON.stringify(machine))
  return machines.map(([, of]) => mergeReports(of))
}

/** Reports of runs on one machine as one: of rows that measured the same, that of the latest run counts, unless only an earlier one has a time. */
export function mergeReports(reports: readonly Report[]): Report {
  const [first, ...others] = [...reports].sort((a, b) => a.date.localeCompare(b.date))
  if (!first) throw new Error('report: expected the JSON of at least one run')
  const last = others.at(-1) ?? first
  for (const { machine, date } of others) {
    const [{ commit: _a, ...expected }, { commit: _b, ...actual }] = [first.machine, machine]
    if (!isDeepStrictEqual(actual, expected))
      throw new Error(`report: the runs of ${first.date} and ${date} are of different machines or Node versions`)
  }
  const rows = new Map<string, Row>()
  const peaks = new Map<string, Report['peaks'][number]>()
  for (const report of [first, ...others]) {
    for (const row of report.rows) {
      const key = JSON.stringify([row.benchmark, row.name, row.contender, row.threads])
      if (row.timing !== null || !rows.get(key)?.timing) rows.set(key, row)
    }
    for (const peak of report.peaks) peaks.set(`${peak.contender} ${peak.threads}`, peak)
  }
  const commits = [...new Set(reports.map(({ machine }) => machine.commit ?? 'unknown'))]
  return {
    ...last,
    machine: { ...last.machine, commit: commits.join(' and ') },
    peaks: [...peaks.values()],
    rows: [...rows.values()],
    keptDisturbed: reports.some(({ keptDisturbed }) => keptDisturbed),
  }
}
