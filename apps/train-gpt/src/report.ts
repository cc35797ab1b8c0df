import { formatBytes, formatCount, formatDuration, formatShare } from './format'
import type { MetricsRecord, SampleRecord, StepRecord, ValidationRecord } from './metrics'
import { lossCurve, memoryCurve, page, shareCurve, throughputCurve } from './plot'

/** What a report says beside the metrics. */
export interface ReportFacts {
  readonly title: string
  /** The run's options, in the form of a config file. */
  readonly options: Readonly<Record<string, unknown>>
  readonly parameterCount: number
  readonly totalSteps: number
  readonly backend: string
  readonly peakFlops: number
  readonly trainTokens: number
  readonly validationTokens: number
  /** Nats per token, and the same in bits per byte. */
  readonly unigramEntropy: number
  readonly unigramBitsPerByte: number
}

/** One HTML page without scripts or external resources, light and dark. */
export async function renderReport(records: readonly MetricsRecord[], facts: ReportFacts): Promise<string> {
  const charts = {
    Loss: await lossCurve(records, facts.unigramEntropy, page),
    Throughput: await throughputCurve(records, page),
    'Where the time goes': await shareCurve(records, page),
    Memory: await memoryCurve(records, page),
  }
  const samples = records.filter((r): r is SampleRecord => r.type === 'sample').reverse()
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(facts.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escapeHtml(facts.title)}</h1>
${summary(records, facts)}
${Object.entries(charts)
  .map(([name, svg]) => `<section><h2>${name}</h2><figure>${svg}</figure></section>`)
  .join('\n')}
<section><h2>Samples</h2>${samples.map(renderSample).join('') || '<p>None yet.</p>'}</section>
<section><h2>Validation</h2>${validationTable(records)}</section>
<section><h2>Options</h2>${table(Object.entries(facts.options).map(([name, value]) => [name, formatValue(value)]))}</section>
</main>
</body>
</html>
`
}

function summary(records: readonly MetricsRecord[], facts: ReportFacts): string {
  const steps = records.filter((r): r is StepRecord => r.type === 'step')
  const last = steps.at(-1)
  const validation = records.filter((r): r is ValidationRecord => r.type === 'validation').at(-1)
  const seconds = steps.reduce((sum, r) => sum + r.seconds, 0)
  const mean = (pick: (r: StepRecord) => number) => steps.reduce((sum, r) => sum + pick(r) * r.seconds, 0) / seconds
  const timed = steps.every((r) => r.attentionShare !== null)
  const largest = (pick: (r: StepRecord) => number) => steps.reduce((max, r) => Math.max(max, pick(r)), 0)
  const cells: [string, string, string][] = []
  if (validation)
    cells.push(['Validation loss', validation.loss.toFixed(3), `nats per token, ${validation.bitsPerByte.toFixed(3)} bits per byte`])
  cells.push(['Unigram entropy', facts.unigramEntropy.toFixed(3), `nats per token, ${facts.unigramBitsPerByte.toFixed(3)} bits per byte`])
  if (last) {
    cells.push(
      ['Steps', `${last.step} of ${facts.totalSteps}`, `${formatCount(last.tokens)} tokens in ${formatDuration(seconds)}`],
      ['Throughput', `${formatCount(mean((r) => r.tokensPerSecond))}`, 'tokens per second'],
      ['FLOP utilisation', formatShare(mean((r) => r.utilisation)), `of a measured peak of ${formatCount(facts.peakFlops)}FLOP/s`],
      ['Attention', timed ? formatShare(mean((r) => r.attentionShare ?? 0)) : '–', 'of the time in kernels'],
      ['Memory', formatBytes(largest((r) => r.backendBytes)), `peak of tensors; ${formatBytes(largest((r) => r.residentBytes))} in all`],
    )
  }
  cells.push(
    ['Parameters', formatCount(facts.parameterCount), escapeHtml(facts.backend)],
    ['Data', formatCount(facts.trainTokens), `tokens to train on, ${formatCount(facts.validationTokens)} to validate`],
  )
  return `<dl class="cells">${cells.map(([name, value, note]) => `<div><dt>${name}</dt><dd>${value}<small>${note}</small></dd></div>`).join('')}</dl>`
}

function renderSample(sample: SampleRecord, index: number): string {
  return `<details${index === 0 ? ' open' : ''}><summary>After step ${sample.step}</summary><pre>${escapeHtml(sample.text)}</pre></details>`
}

function validationTable(records: readonly MetricsRecord[]): string {
  const rows = records.filter((r): r is ValidationRecord => r.type === 'validation')
  return table(
    rows.map((r) => [String(r.step), r.loss.toFixed(4), r.bitsPerByte.toFixed(4)]),
    ['step', 'nats per token', 'bits per byte'],
  )
}

function table(rows: readonly (readonly string[])[], head?: readonly string[]): string {
  const line = (cells: readonly string[], tag: string) => `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`
  return `<table>${head ? `<thead>${line(head, 'th')}</thead>` : ''}<tbody>${rows.map((row) => line(row, 'td')).join('')}</tbody></table>`
}

function formatValue(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function escapeHtml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;')
}

const STYLE = `
:root { color-scheme: light dark; --paper: #f8fafc; --card: #ffffff; --ink: #1e293b; --soft: #64748b; --faint: #e2e8f0; --series-1: #2563eb; --series-2: #ea580c; --series-3: #64748b; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0f172a; --card: #1a2438; --ink: #e2e8f0; --soft: #94a3b8; --faint: #334155; --series-1: #60a5fa; --series-2: #fb923c; --series-3: #94a3b8; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 760px; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
section { background: var(--card); border: 1px solid var(--faint); border-radius: 10px; padding: 1rem; margin-top: 1rem; overflow-x: auto; }
figure { margin: 0; } svg { max-width: 100%; height: auto; display: block; margin: 0 auto; }
.cells { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: .75rem; margin: 0; }
.cells div { background: var(--card); border: 1px solid var(--faint); border-radius: 10px; padding: .75rem 1rem; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
dd small { display: block; font-size: .8rem; color: var(--soft); line-height: 1.35; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: 12.5px/1.45 ui-monospace, monospace; margin: .5rem 0; }
summary { cursor: pointer; color: var(--soft); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
td, th { text-align: left; font-weight: normal; padding: .2rem 1.5rem .2rem 0; border-bottom: 1px solid var(--faint); vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); }
`
