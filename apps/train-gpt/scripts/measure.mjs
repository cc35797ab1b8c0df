// @ts-check
// npm run measure -w @tilegrad/train-gpt: tokens per second and peak memory of training steps over long contexts, with flash and with
// standard attention. Each measurement is `train-gpt train` in a process of its own; the table goes to docs/long-context.md.
// Build first (npm run build), and leave the machine alone meanwhile. Contexts to measure may be given as arguments.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const cli = join(root, 'dist/cli.js')
const STEPS = 2

/** @typedef {{ tokensPerSecond: number, utilisation: number, backendBytes: number, residentBytes: number } | { failure: string }} Measured */

/**
 * @param {number} context
 * @param {'flash' | 'standard'} attention
 * @returns {Measured}
 */
function measure(context, attention) {
  const folder = mkdtempSync(join(tmpdir(), 'long-context-'))
  try {
    const out = join(folder, 'run')
    const flags = [
      '--context',
      context,
      '--attention',
      attention,
      '--steps',
      STEPS,
      '--val-batches',
      1,
      '--sample-every',
      STEPS,
      '--out',
      out,
    ]
    const { status, stderr } = spawnSync(process.execPath, [cli, 'train', ...flags.map(String)], { encoding: 'utf8' })
    if (status !== 0) {
      const line = stderr.trim().split('\n').at(-1) ?? ''
      return { failure: /out of memory/.test(line) ? describeShortage(line) : line }
    }
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n')
    const steps = lines.map((line) => JSON.parse(line)).filter((record) => record.type === 'step')
    const fastest = steps.reduce((a, b) => (b.tokensPerSecond > a.tokensPerSecond ? b : a))
    const most = (/** @type {string} */ field) => Math.max(...steps.map((step) => step[field]))
    const { tokensPerSecond, utilisation } = fastest
    return { tokensPerSecond, utilisation, backendBytes: most('backendBytes'), residentBytes: most('residentBytes') }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** @param {string} line */
function describeShortage(line) {
  const [, requested = 0, held = 0] = /(\d+) bytes requested with (\d+) bytes held/.exec(line) ?? []
  return `out of memory (${gib(Number(requested))} more than the ${gib(Number(held))} held)`
}

/** @param {number} bytes */
function gib(bytes) {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`
}

/** @param {Measured} measured */
function cells(measured) {
  if ('failure' in measured) return [measured.failure, '', '', '']
  const { tokensPerSecond, utilisation, backendBytes, residentBytes } = measured
  return [tokensPerSecond.toFixed(0), `${Math.round(100 * utilisation)} %`, gib(backendBytes), gib(residentBytes)]
}

const contexts = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [2048, 8192, 16384, 32768, 65536]
const rows = []
for (const context of contexts) {
  for (const attention of /** @type {const} */ (['flash', 'standard'])) {
    const row = [String(context), attention, ...cells(measure(context, attention))]
    console.log(row.join(' | '))
    rows.push(row)
  }
}
const head = ['context', 'attention', 'tokens/s', 'FLOP utilisation', 'peak of tensors', 'peak of the process']
const table = [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
const machine = `${cpus()[0]?.model.trim()}, ${cpus().length} cores, ${gib(totalmem())}, Node ${process.versions.node}`
mkdirSync(join(root, 'docs'), { recursive: true })
writeFileSync(
  join(root, 'docs/long-context.md'),
  `# Training on long contexts

The default model (\`train-gpt train\`), batch 1, the faster of ${STEPS} steps each in a process of its own. Machine: ${machine}.
Written by \`npm run measure -w @tilegrad/train-gpt\`.

${table}
`,
)
