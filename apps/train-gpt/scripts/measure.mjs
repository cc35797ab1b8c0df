// @ts-check
// npm run measure -w @tilegrad/train-gpt: tokens per second and peak memory of training steps over long contexts, with flash and with
// standard attention; the table goes to docs/long-context.md.
// Build first (npm run build), and leave the machine alone meanwhile. Contexts to measure may be given as arguments.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gib, machine, measuredRun, table } from './measured-run.mjs'

const STEPS = 2

const contexts = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [2048, 8192, 16384, 32768, 65536]
const rows = [['context', 'attention', 'tokens/s', 'FLOP utilisation', 'peak of tensors', 'peak of the process']]
for (const context of contexts) {
  for (const attention of ['flash', 'standard']) {
    const measured = measuredRun(STEPS, ['--context', context, '--attention', attention])
    const cells =
      'failure' in measured
        ? [measured.failure, '', '', '']
        : [
            measured.tokensPerSecond.toFixed(0),
            `${Math.round(100 * measured.utilisation)} %`,
            gib(measured.backendBytes),
            gib(measured.residentBytes),
          ]
    rows.push([String(context), attention, ...cells])
    console.log(rows.at(-1)?.join(' | '))
  }
}
writeFileSync(
  fileURLToPath(new URL('../docs/long-context.md', import.meta.url)),
  `# Training on long contexts

The default model (\`train-gpt train\`), batch 1, the faster of ${STEPS} steps each in a process of its own. Machine: ${machine()}.
Written by \`npm run measure -w @tilegrad/train-gpt\`.

${table(rows)}
`,
)
