import { totalmem } from 'node:os'
import type { Backend } from '@tilegrad/tensor'
import { attentionFlops } from '../flops'
import type { Measurement, Row } from '../results'
import { type CommonOptions, session } from '../session'
import { type Candidate, time } from '../timing'
import { checkAttention } from './check'
import { flashAttention } from './flash'
import { type AttentionResult, type AttentionShape, randomInputs, release, upload } from './problem'
import { standardAttention, standardBytes } from './standard'

export type Pass = 'forward' | 'forward+backward'

export interface AttentionBenchOptions extends CommonOptions {
  readonly seqlens: readonly number[]
  readonly headDims: readonly number[]
  readonly masks: readonly ('causal' | 'full')[]
  readonly passes: readonly Pass[]
  readonly batchSize: number
  readonly nHeads: number
  readonly standard: boolean
}

const nameWidth = 40

export function benchAttention(options: AttentionBenchOptions): Promise<Row[]> {
  return session('attention', options, { nameWidth, standard: options.standard }, async function* (backend) {
    for (const headDim of options.headDims) {
      for (const mask of options.masks) {
        for (const pass of options.passes) {
          for (const seqlen of options.seqlens) {
            const { batchSize, nHeads } = options
            yield measure(backend, { batchSize, seqlen, nHeads, headDim, causal: mask === 'causal' }, pass, options)
          }
        }
      }
    }
  })
}

async function measure(backend: Backend, shape: AttentionShape, pass: Pass, options: AttentionBenchOptions): Promise<Measurement> {
  const { batchSize, seqlen, nHeads, headDim, causal } = shape
  const backward = pass === 'forward+backward'
  const inputs = randomInputs(shape)
  const tensors = upload(backend, inputs, shape)
  const candidates: Candidate<AttentionResult>[] = [{ run: () => flashAttention(backend, tensors, shape, backward), release }]
  if (options.standard && standardBytes(shape, backward) < totalmem() / 4) {
    candidates.push({ run: () => standardAttention(backend, tensors, shape, backward), release })
  }
  const [flash, standard] = await time(backend, candidates, options)
  if (!flash) throw new Error('nothing was timed')
  const checks = await checkAttention(inputs, flash.last, shape)
  if (standard) {
    const standardChecks = await checkAttention(inputs, standard.last, shape)
    checks.push(...standardChecks.map((check) => ({ ...check, what: `standard ${check.what}` })))
    release(standard.last)
  }
  release(flash.last)
  for (const tensor of Object.values(tensors)) tensor.dispose()
  return {
    name: `${pass} N ${seqlen} D ${headDim} ${causal ? 'causal' : 'full'}`,
    parameters: { pass, ...shape },
    flops: attentionFlops(pass, seqlen, batchSize * nHeads, headDim, causal),
    checks,
    timing: flash.timing,
    standard: standard?.timing,
  }
}
