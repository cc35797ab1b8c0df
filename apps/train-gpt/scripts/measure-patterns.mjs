// @ts-check
// npm run measure:patterns -w @tilegrad/train-gpt: tokens per second, memory and loss of training at a context of 65,536 tokens with dense and with
// block-sparse attention; the table goes to docs/patterns.md. Build first (npm run build), and leave the machine alone meanwhile.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gib, machine, measuredRun, table } from './measured-run.mjs'

const CONTEXT = 65536
const STEPS = 8
const PATTERNS = [
  'dense',
  'butterfly:block-size=256',
  'big-bird:window-blocks=3,global-blocks=2,random-blocks=3,seed=1,block-size=256',
  'local-global:window=1024,global-tokens=128',
  'fixed:stride=1024,summary=128',
  'window:size=1024',
  'local-global:window=1024,global-tokens=128/dense',
]

const rows = [['pattern', 'tokens/s', 'against dense', 'peak of tensors', 'loss of the last step', 'validation loss']]
let dense = Number.NaN
for (const pattern of PATTERNS) {
  const measured = measuredRun(STEPS, ['--context', CONTEXT, '--pattern', pattern])
  if ('failure' in measured) throw new Error(`${pattern}: ${measured.failure}`)
  const { tokensPerSecond, backendBytes, loss, validationLoss } = measured
  if (pattern === 'dense') dense = tokensPerSecond
  const ratio = `${(tokensPerSecond / dense).toFixed(1)}×`
  rows.push([`\`${pattern}\``, tokensPerSecond.toFixed(0), ratio, gib(backendBytes), loss.toFixed(4), validationLoss.toFixed(4)])
  console.log(rows.at(-1)?.join(' | '))
}
writeFileSync(
  fileURLToPath(new URL('../docs/patterns.md', import.meta.url)),
  `# Dense and block-sparse attention at ${CONTEXT} tokens

The default model (\`train-gpt train --context ${CONTEXT} --pattern …\`), batch 1, ${STEPS} steps of one seed, each run in a process of its own: the fastest step,
and the losses in nats per token after all of them. ${STEPS} steps say how fast a pattern is and that it learns, not how good it becomes. Machine: ${machine()}.
Written by \`npm run measure:patterns -w @tilegrad/train-gpt\`.

${table(rows)}
`,
)
