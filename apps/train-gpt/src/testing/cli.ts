import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readMetrics } from '../metrics'
import { runFolder } from '../run-folder'

export const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A train-gpt process. */
export interface Running {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
}

export function start(args: readonly string[], prefix: readonly string[] = []): Running {
  const [command = process.execPath, ...rest] = [...prefix, process.execPath, cli, ...args]
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (data: Buffer) => (output.stdout += data))
  child.stderr.on('data', (data: Buffer) => (output.stderr += data))
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, ...output }))
  })
  return { child, ended }
}

export const run = (...args: string[]): Promise<Ended> => start(args).ended

/** A folder with a small text, and the flags of a model that trains on it in a second. */
export async function smallRun() {
  const folder = await mkdtemp(join(tmpdir(), 'train-gpt-'))
  const data = join(folder, 'text.txt')
  const lines = Array.from({ length: 400 }, (_, i) => `interface Shape${i % 23} { readonly sides: ${i % 7}; area(scale: number): number }`)
  await writeFile(data, `${lines.join('\n')}\n`)
  const flags = ['--data', data, '--context', '64', '--width', '16', '--heads', '2', '--layers', '1', '--threads', '2']
  const quiet = ['--val-every', '10', '--val-batches', '2', '--sample-every', '1000', '--save-every', '10']
  return {
    folder,
    data,
    flags: [...flags, ...quiet],
    path: (name: string) => join(folder, name),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

/** What must not depend on interruptions: losses, gradient norms, rates and samples of every step, without times and memory. */
export async function learned(run: string): Promise<unknown[]> {
  const records = await readMetrics(runFolder(run).metrics)
  return records.map((record) => {
    if (record.type !== 'step') return record
    const { type, step, loss, lr, gradNorm, tokens } = record
    return { type, step, loss, lr, gradNorm, tokens }
  })
}

/** Bytes of the weights and moments of the latest checkpoint. */
export async function weights(run: string): Promise<{ model: Buffer; optimizer: Buffer }> {
  const latest = (await readFile(runFolder(run).latest, 'utf8')).trim()
  const read = (file: string) => readFile(join(runFolder(run).checkpoints, latest, file))
  return { model: await read('model.safetensors'), optimizer: await read('optimizer.safetensors') }
}

/** Waits until a run has done a step. */
export async function untilStep(run: string, step: number): Promise<void> {
  for (;;) {
    const records = await readMetrics(runFolder(run).metrics)
    if (records.some((record) => record.type === 'step' && record.step >= step)) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
