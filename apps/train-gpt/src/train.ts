import { join } from 'node:path'
import type { Variable } from '@tilegrad/autograd'
import type { Backend } from '@tilegrad/tensor'
import { AdamW, GPT, readSafetensors, warmupCosine, writeSafetensors } from '@tilegrad/transformer'
import { type Checkpoint, checkpointNames, rewindTo, saveCheckpoint, type TrainerState } from './checkpoint'
import { type Batch, type Corpus, drawBatch, validationBatches } from './data'
import type { Device } from './device'
import { describeError, isMistake, RunError } from './errors'
import { trainingFlops } from './flops'
import { formatCount, formatDuration, printable } from './format'
import { MetricsLog, type MetricsRecord, type StepRecord, truncateMetrics } from './metrics'
import { modelConfig } from './model-config'
import { type TrainOptions, toConfig } from './options'
import { lossCurve, paper } from './plot'
import type { Progress } from './progress'
import { renderReport } from './report'
import { type RunFolder, writeText } from './run-folder'
import { sampleText } from './sample'
import type { TextTokenizer } from './tokenizer'

// AdamW's moments as in GPT-3 (arXiv 2005.14165, appendix B).
const BETA1 = 0.9
const BETA2 = 0.95
/** Steps of warmup where none are asked for, if the run has at least ten times as many. */
const DEFAULT_WARMUP = 20
const DEFAULT_MINUTES = 5
/** A plan leaves this share of the time for a machine that gets slower. */
const SLACK = 0.05
const SAMPLE_TOKENS = 300

/** A run before it computes: checked options, data in memory, and a folder with the checkpoint to start from, if any. */
export interface Run {
  readonly options: TrainOptions
  readonly folder: RunFolder
  readonly checkpoint: Checkpoint | undefined
  readonly tokenizer: TextTokenizer
  readonly corpus: Corpus
}

/** What a run talks to. */
export interface Surroundings {
  readonly device: Device
  readonly progress: Progress
  /** Aborted to finish the step, save and end. */
  readonly stop: AbortSignal
}

/** Trains until the last step, the time limit or `stop`, and leaves a checkpoint of the last step and a report. */
export async function train(run: Run, surroundings: Surroundings): Promise<void> {
  const trainer = new Trainer(run, surroundings, await createModel(run, surroundings.device.backend))
  try {
    await trainer.open()
    await trainer.loop()
  } catch (error) {
    throw await trainer.withWayOn(error)
  } finally {
    trainer.close()
  }
}

/** The checkpoint's model, or a fresh one. */
async function createModel({ options, checkpoint, tokenizer }: Run, backend: Backend): Promise<GPT> {
  const config = modelConfig(options, tokenizer)
  if (!checkpoint) return GPT.fromConfig(config, { backend, seed: options.seed })
  const { attentionImpl, activationCheckpointing } = config
  const model = await GPT.fromPretrained(checkpoint.path, { backend, attentionImpl, activationCheckpointing })
  const parts = ['architecture', 'vocabSize', 'contextLength', 'nLayers', 'dModel', 'nHeads', 'nHeadsK'] as const
  for (const part of parts) {
    const wanted = config[part]
    if (model.config[part] === wanted) continue
    throw new RunError(
      `checkpoint ${checkpoint.path} is of another model: ${part} is ${model.config[part]}, the run's options ask for ${wanted}`,
    )
  }
  return model
}

class Trainer {
  private readonly optimizer: AdamW
  private readonly parameters: readonly Variable[]
  private readonly validationSet: readonly Batch[]
  private readonly flopsPerStep: number
  private readonly started = performance.now()
  private state: TrainerState
  private records: MetricsRecord[] = []
  private log: MetricsLog | undefined
  /** Step of the last record of each kind, to do nothing twice. */
  private readonly last = { validated: -1, sampled: -1, saved: -1 }
  /** Seconds of what happens beside training steps, as last measured: for the plan. */
  private readonly cost = { validation: 0, sample: 0, save: 0 }
  private hasDiverged = false
  private sessionSteps: number[] = []

  constructor(
    private readonly run: Run,
    private readonly around: Surroundings,
    private readonly model: GPT,
  ) {
    const { options, corpus, checkpoint } = run
    this.optimizer = new AdamW(model.parameters(), { lr: options.lr, beta1: BETA1, beta2: BETA2, weightDecay: options.weightDecay })
    this.parameters = [...model.parameters().values()]
    this.validationSet = validationBatches(corpus.validation, {
      batches: options.valBatches,
      rows: options.batch,
      context: options.context,
    })
    this.flopsPerStep = trainingFlops(model.config, options.context) * options.batch * options.accumulate
    const fresh = { step: 0, totalSteps: null, tokens: 0, seconds: 0, dataSha256: corpus.sha256 }
    this.state = { ...(checkpoint?.state ?? fresh) }
    if (options.steps !== undefined) this.state.totalSteps = options.steps
  }

  /** Brings folder and optimizer to the state of the checkpoint. */
  async open(): Promise<void> {
    const { folder, checkpoint } = this.run
    if (checkpoint) {
      const moments = await readSafetensors(join(checkpoint.path, 'optimizer.safetensors'))
      await this.optimizer.load(moments).finally(() => moments.close())
      this.last.saved = checkpoint.state.step
    }
    await rewindTo(folder, checkpoint)
    this.records = await truncateMetrics(folder.metrics, this.state.step)
    for (const { type, step } of this.records) {
      if (type === 'validation') this.last.validated = step
      if (type === 'sample') this.last.sampled = step
    }
    this.log = new MetricsLog(folder.metrics)
    this.describe()
  }

  async loop(): Promise<void> {
    const { options } = this.run
    const { state } = this
    if (state.step === 0) {
      await this.validate()
      await this.save()
    }
    while (!this.finished() && !this.around.stop.aborted && !this.timeIsUp()) {
      this.record(await this.trainStep())
      this.plan()
      const due = (every: number) => this.finished() || state.step % every === 0
      if (due(options.valEvery)) await this.validate()
      if (due(options.sampleEvery)) await this.sample()
      if (due(options.saveEvery)) await this.save()
    }
    if (!this.around.stop.aborted) await this.validate()
    await this.save()
    await this.report()
    this.conclude()
  }

  close(): void {
    this.around.progress.stop()
    this.log?.close()
    this.optimizer.dispose()
    this.model.dispose()
  }

  /** One optimizer step: gradients of `accumulate` batches, averaged, clipped, applied. */
  private async trainStep(): Promise<StepRecord> {
    const { options, corpus } = this.run
    const { backend } = this.around.device
    const { tape } = this.model
    const { batch, accumulate, context, seed } = options
    const begin = performance.now()
    const step = this.state.step + 1
    const lr = this.learningRate(this.state.step)
    await this.around.device.startProfile()
    backend.resetPeakMemory()

    let loss = 0
    for (let pass = 0; pass < accumulate; pass++) {
      const rows = Array.from({ length: batch }, (_, row) => pass * batch + row)
      loss += (await this.backward(drawBatch(corpus.train, { seed, step, rows, context }))) / accumulate
    }
    if (!Number.isFinite(loss)) throw this.diverged(`loss is ${loss}`, step, lr)
    const { gradNorm } = await this.optimizer.step({ lr, maxGradNorm: options.clip }).catch((error: Error) => {
      throw error.name === 'NonFiniteGradientError' ? this.diverged('the gradient is not finite', step, lr) : error
    })
    tape.zeroGrad(this.parameters)
    const { attentionShare } = await this.around.device.stopProfile()

    const seconds = (performance.now() - begin) / 1000
    const trained = batch * accumulate * context
    this.state.step = step
    this.state.tokens += trained
    this.state.seconds += seconds
    this.sessionSteps.push(seconds)
    return {
      type: 'step',
      step,
      loss,
      lr,
      gradNorm,
      tokens: this.state.tokens,
      seconds,
      tokensPerSecond: trained / seconds,
      utilisation: this.flopsPerStep / seconds / this.around.device.peakFlops,
      attentionShare,
      backendBytes: backend.memory().peakBytes,
      residentBytes: process.memoryUsage.rss(),
    }
  }

  /** Adds a batch's share of the step's gradient to the parameters; returns its loss. */
  private async backward(batch: Batch): Promise<number> {
    const { tape } = this.model
    const { accumulate } = this.run.options
    const loss = tape.scope(() => {
      const value = this.loss(batch)
      tape.backward(accumulate === 1 ? value : tape.scale(value, 1 / accumulate))
      return value
    })
    return readScalar(loss)
  }

  /** Mean cross-entropy of a batch, in nats per token. */
  private loss({ inputs, targets }: Batch): Variable {
    const { context } = this.run.options
    const shape = [inputs.length / context, context]
    return this.model.loss(this.model.tokens(inputs, shape), this.model.tokens(targets, shape))
  }

  private learningRate(stepsDone: number): number {
    const { lr, minLr = lr / 10, warmup, steps } = this.run.options
    const { totalSteps } = this.state
    const wanted = warmup ?? (steps === undefined ? DEFAULT_WARMUP : Math.min(DEFAULT_WARMUP, Math.floor(steps / 10)))
    // Before the plan all steps are warmup, which does not depend on the total.
    const total = totalSteps ?? Math.max(wanted, stepsDone + 1)
    return warmupCosine({ lr, minLr, warmupSteps: Math.min(wanted, total), totalSteps: total })(stepsDone)
  }

  /** Where --steps is not given: sets the total from the time that steps have taken, once the warmup or a tenth of the time is over. */
  private plan(): void {
    const { warmup = DEFAULT_WARMUP, valEvery, sampleEvery, saveEvery } = this.run.options
    if (this.state.totalSteps !== null) return
    const limit = this.secondsLimit()
    if (this.state.step < Math.max(1, warmup) && this.elapsed() < limit / 10) return
    const perStep =
      median(this.sessionSteps) + this.cost.validation / valEvery + this.cost.sample / sampleEvery + this.cost.save / saveEvery
    const left = limit * (1 - SLACK) - this.elapsed() - this.cost.validation - this.cost.sample - this.cost.save
    this.state.totalSteps = this.state.step + Math.max(1, Math.floor(left / perStep))
    this.around.progress.note(`planned ${this.state.totalSteps} steps for ${formatDuration(limit)}`)
  }

  private record(record: StepRecord): void {
    this.append(record)
    const { totalSteps, step } = this.state
    const left = this.secondsLimit() - this.elapsed()
    const etaSeconds = totalSteps === null ? left : Math.min(left, (totalSteps - step) * median(this.sessionSteps.slice(-20)))
    this.around.progress.step(record, { totalSteps: totalSteps ?? step + Math.ceil(left / record.seconds), etaSeconds })
  }

  private async validate(): Promise<void> {
    const { step } = this.state
    if (this.last.validated === step) return
    const begin = performance.now()
    const { tape } = this.model
    let total = 0
    let tokens = 0
    for (const batch of this.validationSet) {
      total += batch.inputs.length * (await readScalar(tape.noGrad(() => tape.scope(() => this.loss(batch)))))
      tokens += batch.inputs.length
    }
    const loss = total / tokens
    const bitsPerByte = loss / Math.LN2 / this.run.corpus.bytesPerToken
    this.append({ type: 'validation', step, loss, bitsPerByte })
    this.last.validated = step
    await this.report()
    this.cost.validation = (performance.now() - begin) / 1000
    this.around.progress.note(`step ${step}: validation loss ${loss.toFixed(4)} nats per token, ${bitsPerByte.toFixed(3)} bits per byte`)
  }

  private async sample(): Promise<void> {
    const { step } = this.state
    const begin = performance.now()
    let text = ''
    for await (const piece of sampleText(this.model, this.run.tokenizer, {
      tokens: SAMPLE_TOKENS,
      temperature: 0.8,
      seed: this.run.options.seed,
    }))
      text += piece
    this.append({ type: 'sample', step, text })
    this.cost.sample = (performance.now() - begin) / 1000
    this.around.progress.note(`step ${step}: sample\n${printable(text).replace(/^/gm, '  | ')}`)
  }

  private async save(): Promise<void> {
    const { folder, tokenizer } = this.run
    if (this.last.saved === this.state.step) return
    const begin = performance.now()
    this.log?.flush()
    await saveCheckpoint(folder, this.state, async (path) => {
      const { tensors, metadata } = this.optimizer.state()
      await this.model.save(path, { tokenizer: tokenizer.tokenizer })
      await writeSafetensors(join(path, 'optimizer.safetensors'), tensors, { metadata })
    })
    this.last.saved = this.state.step
    this.cost.save = (performance.now() - begin) / 1000
  }

  private async report(): Promise<void> {
    const { folder, corpus, options } = this.run
    const { device } = this.around
    const facts = {
      title: `Training run ${folder.path}`,
      options: toConfig(options),
      parameterCount: this.model.parameterCount,
      totalSteps: this.state.totalSteps ?? this.state.step,
      backend: device.description,
      peakFlops: device.peakFlops,
      trainTokens: corpus.train.length,
      validationTokens: corpus.validation.length,
      unigramEntropy: corpus.unigramEntropy,
      unigramBitsPerByte: corpus.unigramEntropy / Math.LN2 / corpus.bytesPerToken,
    }
    await writeText(folder.lossCurve, await lossCurve(this.records, corpus.unigramEntropy, paper))
    await writeText(folder.report, await renderReport(this.records, facts))
  }

  private describe(): void {
    const { options, corpus, folder, checkpoint } = this.run
    const { progress, device } = this.around
    const { step, totalSteps } = this.state
    const count = (files: readonly string[], tokens: Int32Array) => `${formatCount(tokens.length)} tokens of ${files.length} file(s)`
    const unigramBits = corpus.unigramEntropy / Math.LN2 / corpus.bytesPerToken
    progress.note(`backend: ${device.description}, peak ${formatCount(device.peakFlops)}FLOP/s`)
    progress.note(
      `data: ${count(corpus.trainFiles, corpus.train)} to train, ${count(corpus.validationFiles, corpus.validation)} to validate`,
    )
    progress.note(`unigram entropy: ${corpus.unigramEntropy.toFixed(4)} nats per token, ${unigramBits.toFixed(3)} bits per byte`)
    progress.note(
      `model: ${options.arch}, ${formatCount(this.model.parameterCount)} parameters, context ${options.context}, ${options.attention} attention`,
    )
    const resumed = `, resumed after step ${step}${totalSteps === null ? '' : ` of ${totalSteps}`}`
    progress.note(`run folder: ${folder.path}${checkpoint ? resumed : ''}`)
  }

  private conclude(): void {
    const { folder, corpus } = this.run
    const { progress } = this.around
    const validation = this.records.filter((r) => r.type === 'validation').at(-1)
    progress.stop()
    if (validation) {
      progress.note(
        `validation loss ${validation.loss.toFixed(4)} nats per token (unigram entropy ${corpus.unigramEntropy.toFixed(4)}), ` +
          `${validation.bitsPerByte.toFixed(3)} bits per byte`,
      )
    }
    const { step, totalSteps } = this.state
    const why = this.finished() ? 'done' : this.around.stop.aborted ? 'stopped' : 'time is up'
    const more = this.finished() ? '' : `; continue with --resume ${folder.path}`
    progress.note(`${why} after step ${step}${totalSteps === null ? '' : ` of ${totalSteps}`}${more}`)
    progress.note(`report: ${folder.report}`)
  }

  /** The error, with the checkpoint to go on from. */
  async withWayOn(error: unknown): Promise<unknown> {
    if (this.last.saved < 0 || isMistake(error)) return error
    const { folder } = this.run
    const names = await checkpointNames(folder)
    // Weights that gave a loss that is no number are no good, although they were saved: the checkpoint before them is.
    const bad = this.hasDiverged && this.last.saved === this.state.step && names.length > 1
    const good = names.at(bad ? -2 : -1)
    const path = bad ? join(folder.checkpoints, good as string) : folder.path
    return new RunError(`${describeError(error).message}; checkpoint ${good} is kept: continue with --resume ${path}`)
  }

  private diverged(what: string, step: number, lr: number): RunError {
    this.hasDiverged = true
    return new RunError(`${what} at step ${step} (learning rate ${lr}); give a lower --lr or more --warmup`)
  }

  private append(record: MetricsRecord): void {
    this.log?.append(record)
    this.records.push(record)
  }

  private finished(): boolean {
    return this.state.totalSteps !== null && this.state.step >= this.state.totalSteps
  }

  /** Of this session. */
  private elapsed(): number {
    return (performance.now() - this.started) / 1000
  }

  private secondsLimit(): number {
    const { minutes, steps } = this.run.options
    return 60 * (minutes ?? (steps === undefined ? DEFAULT_MINUTES : Number.POSITIVE_INFINITY))
  }

  private timeIsUp(): boolean {
    return this.elapsed() >= this.secondsLimit()
  }
}

/** Waits for a loss and frees it. */
async function readScalar(variable: Variable): Promise<number> {
  try {
    return (await variable.value.read())[0] as number
  } finally {
    variable.dispose()
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}
