import { resolve } from 'node:path'
import { GPT } from '@tilegrad/transformer'
import { findCheckpoint } from './checkpoint'
import { defaultDataFiles, packCorpus, readDocuments } from './data'
import { type DeviceOptions, openBackend, openDevice } from './device'
import { RunError, UsageError } from './errors'
import { printable } from './format'
import { checkConfig, completeTrainOptions, flagName, type SampleOptions, type TrainOptions, trainFlags } from './options'
import { createProgress } from './progress'
import type { Run } from './run'
import { createRunFolder, defaultOut, openRunFolder, writeOptions } from './run-folder'
import { sampleText } from './sample'
import { stopOnSignals } from './stop'
import { openTokenizer, savedTokenizer } from './tokenizer'
import { trainOnDevices } from './train-on-devices'

/** What a resumed run cannot change, because weights, data order and metrics follow from it. */
const FIXED = [
  'data',
  'tokenizer',
  'context',
  'arch',
  'layers',
  'width',
  'heads',
  'kvHeads',
  'pattern',
  'positions',
  'sink',
  'documents',
  'seed',
  'out',
] as const

/** A new run: reads the data first, so that a run that cannot start leaves nothing behind. */
export async function startRun(options: TrainOptions): Promise<Run> {
  // Absolute names, so that the run can be resumed from anywhere.
  const data = options.data?.map((path) => resolve(path))
  const documents = await readDocuments(data ?? (await defaultDataFiles()))
  const tokenizer = await openTokenizer(options.tokenizer, documents)
  const corpus = packCorpus(documents, tokenizer, options)
  await checkBackend(options)
  const folder = await createRunFolder(options.out ?? defaultOut(new Date()), { ...options, data })
  return { options: { ...options, data }, folder, checkpoint: undefined, tokenizer, corpus }
}

/** A run to go on with: its own options with `flags` over them, its data checked to be the same. */
export async function resumeRun(path: string, flags: Record<string, unknown>): Promise<Run> {
  const { folder, checkpoint: name, options: stored } = await openRunFolder(path)
  const fixed = FIXED.find((key) => key in flags)
  if (fixed)
    throw new UsageError(
      `--${flagName(fixed)} cannot change in a resumed run; start a new one with --config ${folder.options} --out FOLDER`,
    )
  const options = completeTrainOptions({ ...checkConfig(trainFlags, stored, folder.options), ...flags })
  const checkpoint = await findCheckpoint(folder, name)
  const done = checkpoint?.state.step ?? 0
  const planned = options.steps ?? checkpoint?.state.totalSteps ?? Number.POSITIVE_INFINITY
  if (done >= planned) throw new UsageError(`${folder.path} has done its ${done} steps; give --steps with more to train on`)
  const documents = await readDocuments(options.data ?? (await defaultDataFiles()))
  const tokenizer = checkpoint ? await savedTokenizer(checkpoint.path) : await openTokenizer(options.tokenizer, documents)
  const corpus = packCorpus(documents, tokenizer, options)
  if (checkpoint && corpus.sha256 !== checkpoint.state.dataSha256) {
    throw new RunError(
      `the data is not what ${folder.path} was trained on; restore the files, or start a new run with --config ${folder.options} --out FOLDER`,
    )
  }
  await checkBackend(options)
  if (Object.keys(flags).length > 0) await writeOptions(folder, options)
  return { options, folder, checkpoint, tokenizer, corpus }
}

/** A run that this machine cannot compute leaves nothing behind. @throws UsageError */
async function checkBackend(options: DeviceOptions): Promise<void> {
  const backend = await openBackend(options)
  await backend.dispose()
}

/** Trains, shows progress on standard error, and stops cleanly on Ctrl-C. */
export async function runTraining(run: Run): Promise<void> {
  const progress = createProgress(process.stderr)
  const stopping = stopOnSignals(() => progress.note('stopping: this step is finished and saved; Ctrl-C again quits at once'))
  try {
    await trainOnDevices(run, { openDevice: () => openDevice(run.options), progress, stop: stopping.signal })
  } finally {
    progress.stop()
    stopping.release()
  }
}

/** Writes a continuation of the prompt to standard output. */
export async function runSampling(path: string, options: SampleOptions): Promise<void> {
  const { folder, checkpoint: name } = await openRunFolder(path)
  const checkpoint = await findCheckpoint(folder, name)
  if (!checkpoint) throw new UsageError(`${path} has no checkpoint yet; train it first with --resume ${path}`)
  const backend = await openBackend(options)
  try {
    const model = await GPT.fromPretrained(checkpoint.path, { backend })
    const show = (text: string) => process.stdout.write(process.stdout.isTTY ? printable(text) : text)
    show(options.prompt ?? '')
    for await (const piece of sampleText(model, await savedTokenizer(checkpoint.path), options)) show(piece)
    process.stdout.write('\n')
    model.dispose()
  } finally {
    await backend.dispose()
  }
}
