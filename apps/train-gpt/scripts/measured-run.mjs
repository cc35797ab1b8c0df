// @ts-check
// A short training run in a process of its own, and what its metrics say of it.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url))

/**
 * Tokens per second and utilisation are those of the fastest step, bytes the most of any, losses in nats per token.
 * @typedef {{ tokensPerSecond: number, utilisation: number, backendBytes: number, residentBytes: number, loss: number, validationLoss: number }} Measured
 */

/**
 * @param {number} steps
 * @param {readonly (string | number)[]} flags
 * @returns {Measured | { failure: string }}
 */
export function measuredRun(steps, flags) {
  const folder = mkdtempSync(join(tmpdir(), 'measured-run-'))
  try {
    const out = join(folder, 'run')
    const own = ['--steps', steps, '--val-batches', 1, '--val-every', steps, '--sample-every', steps, '--save-every', steps, '--out', out]
    const { status, stderr } = spawnSync(process.execPath, [cli, 'train', ...flags, ...own].map(String), { encoding: 'utf8' })
    if (status !== 0) {
      const line = stderr.trim().split('\n').at(-1) ?? ''
      return { failure: /out of memory/.test(line) ? describeShortage(line) : line }
    }
    const records = readFileSync(join(out, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const trained = records.filter(({ type }) => type === 'step')
    const fastest = trained.reduce((a, b) => (b.tokensPerSecond > a.tokensPerSecond ? b : a))
    const most = (/** @type {string} */ field) => Math.max(...trained.map((step) => step[field]))
    return {
      tokensPerSecond: fastest.tokensPerSecond,
      utilisation: fastest.utilisation,
      backendBytes: most('backendBytes'),
      residentBytes: most('residentBytes'),
      loss: trained.at(-1).loss,
      validationLoss: records.filter(({ type }) => type === 'validation').at(-1).loss,
    }
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
export function gib(bytes) {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`
}

/** @param {readonly (readonly string[])[]} rows the first is the head */
export function table([head = [], ...rows]) {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}

export function machine() {
  return `${cpus()[0]?.model.trim()}, ${cpus().length} cores, ${gib(totalmem())}, Node ${process.versions.node}`
}
