import { mkdir, readdir, readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { describeFileError, isFileError, RunError, UsageError } from './errors'
import { type TrainOptions, toConfig } from './options'

/** Where a run keeps what: the names of its files. */
export interface RunFolder {
  readonly path: string
  /** The run's options, in the form of a config file. */
  readonly options: string
  readonly metrics: string
  readonly checkpoints: string
  /** Names the checkpoint to resume from. */
  readonly latest: string
  readonly lossCurve: string
  readonly report: string
}

export function runFolder(path: string): RunFolder {
  return {
    path,
    options: join(path, 'run.json'),
    metrics: join(path, 'metrics.jsonl'),
    checkpoints: join(path, 'checkpoints'),
    latest: join(path, 'latest'),
    lossCurve: join(path, 'loss.svg'),
    report: join(path, 'report.html'),
  }
}

/** `runs/20250131-235959`. */
export function defaultOut(now: Date): string {
  const digits = now.toISOString().replace(/\D/g, '')
  return join('runs', `${digits.slice(0, 8)}-${digits.slice(8, 14)}`)
}

/**
 * Makes a run folder, which must be new or empty, and proves that it can be written by writing the options into it.
 * @throws UsageError
 */
export async function createRunFolder(path: string, options: TrainOptions): Promise<RunFolder> {
  const folder = runFolder(path)
  try {
    await makeFolder(resolve(path))
    const found = await readdir(path)
    if (found.length > 0) {
      const isRun = found.includes('run.json')
      throw new UsageError(`--out: ${path} is not empty; ${isRun ? `continue that run with --resume ${path} or ` : ''}name a new folder`)
    }
    await mkdir(folder.checkpoints)
    await writeOptions(folder, options)
  } catch (error) {
    if (isFileError(error)) throw new UsageError(`--out: ${describeFileError('write into', path, error)}`)
    throw error
  }
  return folder
}

/**
 * Opens a run by its folder, or by one of its checkpoints (`RUN/checkpoints/step-20`), which is then the one to start from.
 * @throws UsageError if there is no run.
 */
export async function openRunFolder(path: string): Promise<{ folder: RunFolder; checkpoint: string | undefined; options: unknown }> {
  const asCheckpoint = /^(.*)[/\\]checkpoints[/\\](step-\d+)$/.exec(resolve(path))
  const folder = runFolder(asCheckpoint?.[1] ?? path)
  let text: string
  try {
    text = await readFile(folder.options, 'utf8')
  } catch (error) {
    if (isFileError(error)) throw new UsageError(`${path} is not the folder of a run: ${describeFileError('read', folder.options, error)}`)
    throw error
  }
  return { folder, checkpoint: asCheckpoint?.[2], options: parseJson(text, folder.options) }
}

/** As `mkdir -p`. Node's own recursive mkdir names the wrong cause on a read-only disk and does not come back on some file systems. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    if (!isFileError(error) || (error.code !== 'ENOENT' && error.code !== 'EEXIST')) throw error
    if (error.code === 'EEXIST') return
    if (dirname(path) === path) throw error
    await makeFolder(dirname(path))
    await mkdir(path)
  }
}

/** Writes run.json, a config file without `out`: the folder may move, and another run may start from it. */
export async function writeOptions(folder: RunFolder, options: TrainOptions): Promise<void> {
  await writeText(folder.options, `${JSON.stringify(toConfig({ ...options, out: undefined }), null, 2)}\n`)
}

/** Replaces a file as a whole: a reader sees the old text or the new. */
export async function writeText(path: string, text: string): Promise<void> {
  try {
    await writeFileAtomic(path, text)
  } catch (error) {
    throw isFileError(error) ? new RunError(describeFileError('write', path, error)) : error
  }
}

/** @throws UsageError naming the file. */
export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new UsageError(`${path} is not JSON: ${(error as Error).message}`)
  }
}
