import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { describeFileError, isFileError, RunError } from './errors'
import { type RunFolder, writeText } from './run-folder'

// A checkpoint is one folder that appears whole or not at all: it is written as `step-20.tmp`, every file and the folder
// itself are flushed to disk, then it is renamed to `step-20`, and only then does the file `latest` name it. Whatever
// moment a run is killed at, `latest` names a whole checkpoint.

const KEPT = 2
const STATE = 'trainer.json'

const stateSchema = z.object({
  format: z.literal(1),
  /** Optimizer steps done. */
  step: z.number().int().min(0),
  /** Steps of the learning-rate schedule, null before they are planned. */
  totalSteps: z.number().int().nullable(),
  /** Tokens trained on. */
  tokens: z.number(),
  /** Seconds spent training, over all sessions. */
  seconds: z.number(),
  /** Of the corpus. */
  dataSha256: z.string(),
  /** SHA-256 of every other file in the folder. */
  files: z.record(z.string(), z.string()),
})

/** What a run needs beside weights and moments to go on exactly where it stopped. */
export type TrainerState = Omit<z.infer<typeof stateSchema>, 'format' | 'files'>

/** A verified checkpoint on disk. */
export interface Checkpoint {
  readonly path: string
  readonly state: TrainerState
}

/**
 * Writes a checkpoint as one unit; `write` puts the files into the folder that it is given. Older ones than the last two go.
 * @throws RunError if the disk refuses; what was there before stays.
 */
export async function saveCheckpoint(folder: RunFolder, state: TrainerState, write: (path: string) => Promise<void>): Promise<string> {
  const name = `step-${state.step}`
  const path = join(folder.checkpoints, name)
  const aside = `${path}.tmp`
  try {
    await removeUnfinished(folder)
    await mkdir(aside)
    await write(aside)
    const files = await checksums(aside)
    await writeFile(join(aside, STATE), `${JSON.stringify({ format: 1, ...state, files }, null, 2)}\n`)
    for (const file of await readdir(aside)) await flush(join(aside, file))
    await flush(aside)
    await rename(aside, path)
    await flush(folder.checkpoints)
    await writeText(folder.latest, `${name}\n`)
    await flush(folder.path)
  } catch (error) {
    await rm(aside, { recursive: true, force: true }).catch(() => undefined)
    if (isFileError(error)) throw new RunError(describeFileError('save checkpoint', path, error))
    throw error
  }
  for (const old of (await checkpointNames(folder)).slice(0, -KEPT)) {
    await rm(join(folder.checkpoints, old), { recursive: true, force: true })
  }
  return path
}

/**
 * Finds and verifies the checkpoint to start from, `name` or the latest; undefined if the run was stopped before its first.
 * @throws RunError if it is incomplete or a file differs from its checksum.
 */
export async function findCheckpoint(folder: RunFolder, name?: string): Promise<Checkpoint | undefined> {
  const chosen = name ?? (await latestName(folder))
  if (chosen === undefined) return undefined
  const path = join(folder.checkpoints, chosen)
  try {
    const state = stateSchema.parse(JSON.parse(await readFile(join(path, STATE), 'utf8')))
    for (const [file, expected] of Object.entries(state.files)) {
      const found = await sha256(join(path, file))
      if (found !== expected) throw new Error(`${file} has changed since it was saved (its SHA-256 differs)`)
    }
    return { path, state }
  } catch (error) {
    const cause = isFileError(error)
      ? describeFileError('read', error.path ?? path, error)
      : error instanceof Error && error.name !== 'ZodError' && error.name !== 'SyntaxError'
        ? error.message
        : `${STATE} is damaged`
    const others = (await checkpointNames(folder)).filter((other) => other !== chosen)
    const advice = others.length > 0 ? `use --resume ${join(folder.checkpoints, others.at(-1) as string)}` : 'start a new run'
    throw new RunError(`checkpoint ${path} cannot be used: ${cause}; ${advice}`)
  }
}

/** Makes `checkpoint` the latest: removes those after it and what unfinished saves left. */
export async function rewindTo(folder: RunFolder, checkpoint: Checkpoint | undefined): Promise<void> {
  await mkdir(folder.checkpoints).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await removeUnfinished(folder)
  if (checkpoint) await writeText(folder.latest, `step-${checkpoint.state.step}\n`)
  for (const name of await checkpointNames(folder)) {
    if (stepOf(name) > (checkpoint?.state.step ?? -1)) await rm(join(folder.checkpoints, name), { recursive: true })
  }
}

/** Names of the complete checkpoints, oldest first. */
export async function checkpointNames(folder: RunFolder): Promise<string[]> {
  const names = await readdir(folder.checkpoints).catch(() => [])
  return names.filter((name) => /^step-\d+$/.test(name)).sort((a, b) => stepOf(a) - stepOf(b))
}

function stepOf(name: string): number {
  return Number(name.slice('step-'.length))
}

async function latestName(folder: RunFolder): Promise<string | undefined> {
  try {
    const name = (await readFile(folder.latest, 'utf8')).trim()
    if (!/^step-\d+$/.test(name)) throw new RunError(`${folder.latest} names no checkpoint; write one of ${folder.checkpoints} into it`)
    return name
  } catch (error) {
    if (isFileError(error) && error.code === 'ENOENT') return undefined
    throw error
  }
}

async function removeUnfinished(folder: RunFolder): Promise<void> {
  for (const name of await readdir(folder.checkpoints)) {
    if (name.endsWith('.tmp')) await rm(join(folder.checkpoints, name), { recursive: true, force: true })
  }
}

async function checksums(path: string): Promise<Record<string, string>> {
  const sums: Record<string, string> = {}
  for (const file of (await readdir(path)).sort()) sums[file] = await sha256(join(path, file))
  return sums
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** Waits until a file, or the entries of a folder, are on disk. Windows cannot open folders and orders renames itself. */
async function flush(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const file = await open(path, 'r')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
