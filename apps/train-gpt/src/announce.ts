import type { GPT } from '@tilegrad/transformer'
import type { TrainerState } from './checkpoint'
import type { Device } from './device'
import { formatCount } from './format'
import type { MetricsRecord, ValidationRecord } from './metrics'
import { toConfig } from './options'
import type { ReportFacts } from './report'
import type { Run } from './run'

/** What is said of a run before its first step. */
export function describeStart(
  { options, corpus, folder, checkpoint }: Run,
  device: Device,
  model: GPT,
  { step, totalSteps }: TrainerState,
): string {
  const part = (files: readonly string[], tokens: Int32Array) => `${formatCount(tokens.length)} tokens of ${files.length} file(s)`
  const resumed = `, resumed after step ${step}${totalSteps === null ? '' : ` of ${totalSteps}`}`
  return [
    `backend: ${device.description}, peak ${formatCount(device.peakFlops)}FLOP/s`,
    `data: ${part(corpus.trainFiles, corpus.train)} to train, ${part(corpus.validationFiles, corpus.validation)} to validate`,
    `unigram entropy: ${corpus.unigramEntropy.toFixed(4)} nats per token, ${bitsPerByte(corpus.unigramEntropy, corpus).toFixed(3)} bits per byte`,
    `model: ${options.arch}, ${formatCount(model.parameterCount)} parameters, context ${options.context}, ${options.attention} attention`,
    `run folder: ${folder.path}${checkpoint ? resumed : ''}`,
  ].join('\n')
}

/** What is said after its last. */
export function describeEnd(
  { corpus, folder }: Run,
  why: string,
  { step, totalSteps }: TrainerState,
  records: readonly MetricsRecord[],
): string {
  const validation = records.filter((r): r is ValidationRecord => r.type === 'validation').at(-1)
  const finished = totalSteps !== null && step >= totalSteps
  return [
    `${why} after step ${step}${totalSteps === null ? '' : ` of ${totalSteps}`}${finished ? '' : `; continue with --resume ${folder.path}`}`,
    ...(validation
      ? [
          `validation loss ${validation.loss.toFixed(4)} nats per token, ${validation.bitsPerByte.toFixed(3)} bits per byte ` +
            `(unigram entropy ${corpus.unigramEntropy.toFixed(4)} and ${bitsPerByte(corpus.unigramEntropy, corpus).toFixed(3)})`,
        ]
      : []),
    `report: ${folder.report}`,
  ].join('\n')
}

export function reportFacts({ corpus, folder, options }: Run, device: Device, model: GPT, { step, totalSteps }: TrainerState): ReportFacts {
  return {
    title: `Training run ${folder.path}`,
    options: toConfig(options),
    parameterCount: model.parameterCount,
    totalSteps: totalSteps ?? step,
    backend: device.description,
    peakFlops: device.peakFlops,
    trainTokens: corpus.train.length,
    validationTokens: corpus.validation.length,
    unigramEntropy: corpus.unigramEntropy,
    unigramBitsPerByte: bitsPerByte(corpus.unigramEntropy, corpus),
  }
}

/** Nats per token of the validation text as bits per byte. */
export function bitsPerByte(nats: number, { bytesPerToken }: { bytesPerToken: number }): number {
  return nats / Math.LN2 / bytesPerToken
}
