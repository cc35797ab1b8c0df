import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatMachine } from '../machine'
import { type Algorithm, algorithms, type ErrorReport, type ErrorRow, type Result, results } from './errors'
import type { LossReport } from './loss-curves'
import { errorsOverLogitScale, errorsOverSeqlen, lossCurves } from './plots'
import type { SourceReport } from './sources'

/** Results of precision, precision-sources and loss-curves. */
export interface PrecisionReports {
  readonly errors: ErrorReport
  readonly sources: SourceReport
  readonly losses: LossReport
}

/** The N at which errors are drawn over the logit scale. */
const plottedSeqlen = 2048
const listedSteps = [1, 2, 5, 10, 20, 50, 100, 200]

/** Draws the plots and renews the generated parts of precision.md; its prose stays as it is. */
export async function writePrecision(reports: PrecisionReports, folder: string): Promise<void> {
  const { errors, losses } = reports
  const plots = join(folder, 'plots')
  mkdirSync(plots, { recursive: true })
  writeFileSync(join(plots, 'precision-seqlen.svg'), await errorsOverSeqlen(errors.rows))
  writeFileSync(join(plots, 'precision-logit-scale.svg'), await errorsOverLogitScale(errors.rows, plottedSeqlen))
  writeFileSync(join(plots, 'precision-loss.svg'), await lossCurves(losses))
  const file = join(folder, 'precision.md')
  writeFileSync(file, withGenerated(readFileSync(file, 'utf8'), generatedParts(reports)))
}

/**
 * `text` with what lies between `<!-- generated: name -->` and `<!-- /generated -->` replaced.
 * @throws Error for a part that the text has no place for.
 */
export function withGenerated(text: string, parts: Readonly<Record<string, string>>): string {
  for (const [name, content] of Object.entries(parts)) {
    const place = new RegExp(`(<!-- generated: ${name} -->\n)[^]*?(<!-- /generated -->)`)
    if (!place.test(text)) throw new Error(`expected a line <!-- generated: ${name} --> and a line <!-- /generated --> after it`)
    text = text.replace(place, (_, begin: string, end: string) => `${begin}\n${content}\n\n${end}`)
  }
  return text
}

export function generatedParts({ errors, sources, losses }: PrecisionReports): Record<string, string> {
  return {
    machine: `Measured on ${errors.date.slice(0, 10)} with ${errors.device} on ${formatMachine(errors.machine)}; one head, D ${errors.headDim}, ${errors.causal ? 'causal' : 'full'}.`,
    'RMS errors': errorTable(errors.rows, 'rmsError'),
    'max errors': errorTable(errors.rows, 'maxError'),
    sources: sourceTable(sources),
    losses: lossTable(losses),
  }
}

/** A row per N and logit scale, in each cell flash, standard and naive. */
function errorTable(rows: readonly ErrorRow[], error: 'rmsError' | 'maxError'): string {
  const find = (at: ErrorRow, what: Result, algorithm: Algorithm) =>
    rows.find((row) => row.seqlen === at.seqlen && row.logitScale === at.logitScale && row.what === what && row.algorithm === algorithm)?.[
      error
    ]
  const places = rows.filter((row) => row.what === 'out' && row.algorithm === 'flash')
  const cells = places.map((at) => [
    String(at.seqlen),
    String(at.logitScale),
    ...results.map((what) => algorithms.map((algorithm) => scientific(find(at, what, algorithm))).join(' / ')),
  ])
  return table(['N', 'logit scale', ...results], cells)
}

function sourceTable({ rows, seqlen, headDim }: SourceReport): string {
  const scales = [...new Set(rows.map(({ logitScale }) => logitScale))]
  const names = [...new Set(rows.map(({ source }) => source))]
  const cells = names.map((name) => [
    name,
    ...scales.map((scale) =>
      (['dq', 'dk', 'dv'] as const)
        .map((what) => scientific(rows.find((row) => row.source === name && row.logitScale === scale && row.what === what)?.rmsError))
        .join(' / '),
    ),
  ])
  return table([`in float32 (N ${seqlen}, D ${headDim}); dq / dk / dv`, ...scales.map((scale) => `logit scale ${scale}`)], cells)
}

function lossTable({ curves, steps }: LossReport): string {
  const standard = curves.find(({ name }) => name === 'standard')?.losses ?? []
  const cells = listedSteps
    .filter((step) => step <= steps)
    .map((step) => [
      String(step),
      (standard[step - 1] as number).toFixed(6),
      ...curves
        .filter(({ name }) => name !== 'standard')
        .map(({ losses }) => signed((losses[step - 1] as number) - (standard[step - 1] as number))),
    ])
  const others = curves.filter(({ name }) => name !== 'standard')
  const summary = (title: string, value: (curve: (typeof curves)[number]) => string) => [title, '', ...others.map(value)]
  const differences = (losses: readonly number[]) => losses.map((loss, step) => Math.abs(loss - (standard[step] as number)))
  cells.push(
    summary('largest difference', ({ losses }) => scientific(Math.max(...differences(losses)))),
    summary('weights at the end', ({ weightDistance }) => scientific(weightDistance)),
  )
  return table(['step', 'loss of standard', ...others.map(({ name }) => `${name}: difference`)], cells)
}

function scientific(x: number | undefined): string {
  return x === undefined ? '–' : x === 0 ? '0' : x.toExponential(1)
}

function signed(x: number): string {
  return `${x > 0 ? '+' : ''}${scientific(x)}`
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
