import { join } from 'node:path'
import type { Variable } from '@tilegrad/autograd'
import type { Backend } from '@tilegrad/tensor'
import { AdamW, GPT, readSafetensors, trainingFlops, writeSafetensors } from '@tilegrad/transformer'
import { bitsPerByte, describeEnd, describeStart, reportFacts } from './announce'
import { checkpointNames, rewindTo, saveCheckpoint, type TrainerState } from './checkpoint'
import { type Batch, documentOffsets, drawBatch, dropoutSeed, validationBatches } from './data'
import type { Device } from './device'
import { DeviceLostError, describeError, isMistake, RunError } from './errors'
import { formatDuration, printable } from './format'
import { MetricsLog, type MetricsRecord, type StepRecord, truncateMetrics } from './metrics'
import { modelConfig } from './model-config'
import { lossCurve, paper } from './plot'
import type { Progress } from './progress'
import { renderReport } from './report'
import type { Run } from './run'
import { writeText } from './run-folder'
import { sampleText } from './sample'
import { Schedule } from './schedule'

// AdamW's moments as in GPT-3 (arXiv 2005.14165, appendix B).
const BETA1 = 0.9
const BETA2 = 0.95
const SAMPLE_TOKENS = 300
const SAMPLE_TEMPERATURE = 0.8

/** What a run talks to. */
export interface Surroundings {
  readonly device: Device
  readonly progress: Progress
  /** Aborted to finish the step, save and end. */
  readonly stop: AbortSignal
  /** When this session began, as performance.now() tells it: what the time limit counts from. */
  readonly started: number
}

/**
 * Trains until the last step, the time limit or `stop`, and leaves a checkpoint of the last step and a report.
 * @throws DeviceLostError where the device is gone; RunError, naming the checkpoint to go on from, for what else stops a run
 */
export async function train(run: Run, surroundings: Surroundings): Promise<void> {
  const { device } = surroundings
  const trainer = new Trainer(run, surroundings, await createModel(run, device.backend))
  try {
    await trainer.open()
    await trainer.loop()
  } catch (error) {
    if ((error as Error).name === 'DeviceError' && (await device.isLost()))
      throw new DeviceLostError((error as Error).message, { cause: error })
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
  private readonly schedule: Schedule
  private state: TrainerState
  private records: MetricsRecord[] = []
  private log: MetricsLog | undefined
  /** Steps of the last validation and checkpoint, to do nothing twice. */
  private readonly last = { validated: -1, saved: -1 }
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
    this.schedule = new Schedule(options)
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
    this.last.validated = this.records.filter((r) => r.type === 'validation').at(-1)?.step ?? -1
    this.log = new MetricsLog(folder.metrics)
    this.around.progress.note(describeStart(this.run, this.around.device, this.model, this.state))
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
    this.around.progress.stop()
    const why = this.finished() ? 'done' : this.around.stop.aborted ? 'stopped' : 'time is up'
    this.around.progress.note(describeEnd(this.run, why, state, this.records))
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
    const lr = this.schedule.learningRate(this.state.step, this.state.totalSteps)
    await this.around.device.startProfile()
    backend.resetPeakMemory()

    let loss = 0
    for (let pass = 0; pass < accumulate; pass++) {
      const rows = Array.from({ length: batch }, (_, row) => pass * batch + row)
      loss += (await this.backward(drawBatch(corpus.train, { seed, step, rows, context }), dropoutSeed({ seed, step, pass }))) / accumulate
    }
    if (!Number.isFinite(loss)) throw this.diverged(`loss is ${loss}`, step, lr)
    const { gradNorm } = await this.optimizer.step({ lr, maxGradNorm: options.clip }).catch((error: Error) => {
      throw error.name === 'NonFiniteGradientError' ? this.diverged('the gradient is not finite', step, lr) : error
    })
    tape.zeroGrad(this.parameters)
    const { attentionShare } = await this.around.device.stopProfile()

    const seconds = (performance.now() - begin) / 1000
    const { device } = this.around
    // A step above the peak shows that something else had the machine when the peak was measured.
    if (this.flopsPerStep / seconds > device.peakFlops) await device.measurePeak()
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
      utilisation: this.flopsPerStep / seconds / device.peakFlops,
      attentionShare,
      backendBytes: backend.memory().peakBytes,
      residentBytes: process.memoryUsage.rss(),
    }
  }

  /** Adds a batch's share of the step's gradient to the parameters; returns its loss. */
  private async backward(batch: Batch, dropoutSeed: number): Promise<number> {
    const { tape } = this.model
    const { accumulate } = this.run.options
    const loss = tape.scope(() => {
      const value = this.loss(batch, { dropoutSeed })
      tape.backward(accumulate === 1 ? value : tape.scale(value, 1 / accumulate))
      return value
    })
    return readScalar(loss)
  }

  /** Mean cross-entropy of a batch, in nats per token. */
  private loss({ inputs, targets }: Batch, pass: { readonly dropoutSeed?: number } = {}): Variable {
    const { options, tokenizer } = this.run
    const { context, documents } = options
    const shape = [inputs.length / context, context]
    const packed = documents === 'separate' && { cuSeqlens: documentOffsets(inputs, tokenizer.separator, context) }
    return this.model.loss(this.model.tokens(inputs, shape), this.model.tokens(targets, shape), { ...pass, ...packed })
  }

  /** Where --steps is not given, sets the total from the time that steps have taken. */
  private plan(): void {
    const { state, schedule } = this
    if (state.totalSteps !== null || !schedule.isPlanDue(state.step, this.elapsed())) return
    state.totalSteps = schedule.plan(state.step, this.elapsed(), { ...this.cost, step: median(this.sessionSteps) })
    this.around.progress.note(`planned ${state.totalSteps} steps for ${formatDuration(schedule.secondsLimit)}`)
  }

  private record(record: StepRecord): void {
    this.append(record)
    const { totalSteps, step } = this.state
    const left = this.schedule.secondsLimit - this.elapsed()
    const etaSeconds = totalSteps === null ? left : Math.min(left, (totalSteps - step) * median(this.sessionSteps.slice(-20)))
    this.around.progress.step(record, { totalSteps: totalSteps ?? step + Math.ceil(left / record.seconds), etaSeconds })
  }

  private async validate(): Promise<void> {
    const { step } = this.state
    if (this.last.validated === step) return
    const begin = performance.now()
    await this.around.device.measurePeak()
    const { tape } = this.model
    let total = 0
    let tokens = 0
    for (const batch of this.validationSet) {
      total += batch.inputs.length * (await readScalar(tape.noGrad(() => tape.scope(() => this.loss(batch)))))
      tokens += batch.inputs.length
    }
    const loss = total / tokens
    const bits = bitsPerByte(loss, this.run.corpus)
    this.append({ type: 'validation', step, loss, bitsPerByte: bits })
    this.last.validated = step
    await this.report()
    this.cost.validation = (performance.now() - begin) / 1000
    this.around.progress.note(`step ${step}: validation loss ${loss.toFixed(4)} nats per token, ${bits.toFixed(3)} bits per byte`)
  }

  private async sample(): Promise<void> {
    const { step } = this.state
    const begin = performance.now()
    const options = { tokens: SAMPLE_TOKENS, temperature: SAMPLE_TEMPERATURE, seed: this.run.options.seed }
    let text = ''
    for await (const piece of sampleText(this.model, this.run.tokenizer, options)) text += piece
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
    const { folder, corpus } = this.run
    const facts = reportFacts(this.run, this.around.device, this.model, this.state)
    await writeText(folder.lossCurve, await lossCurve(this.records, corpus.unigramEntropy, paper))
    await writeText(folder.report, await renderReport(this.records, facts))
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
    return (performance.now() - this.around.started) / 1000
  }

  private timeIsUp(): boolean {
    return this.elapsed() >= this.schedule.secondsLimit
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
