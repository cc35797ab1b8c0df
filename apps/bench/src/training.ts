import { createReferenceBackend } from '@tilegrad/core-math'
import type { CpuBackend } from '@tilegrad/kernels-cpu'
import type { Backend, Tensor, TypedArray } from '@tilegrad/tensor'
import { AdamW, GPT, type GPTConfig, trainingFlops } from '@tilegrad/transformer'
import { type Check, check, forwardFactor, gradientFactor } from './check'
import type { TrainingJob } from './job'
import { processMemory, resetPeakMemory } from './memory'
import { profileSteps } from './profile'
import { randomIntegers } from './random'
import type { Measurement } from './results'
import { time } from './timing'

export interface TrainingShapeOptions {
  readonly architecture: 'gpt2' | 'llama'
  readonly context: number
  readonly batchSize: number
  readonly dModel: number
  readonly nLayers: number
  readonly nHeads: number
  readonly vocabSize: number
  readonly attention: 'flash' | 'standard'
}

/** Positions whose targets count when gradients are compared with float64; causality makes the rest of the sequence irrelevant to them. */
const checkedPositions = 32
const ignoreIndex = -100

/** Forward pass, loss, backward pass, clipping and AdamW update of a whole model. */
export async function measureTraining(backend: CpuBackend, { options, samples, threads, profile }: TrainingJob): Promise<Measurement> {
  const { architecture, context, batchSize, dModel, nLayers, nHeads, vocabSize, attention } = options
  const config = { architecture, vocabSize, contextLength: context, nLayers, nHeads, dModel, attentionImpl: attention }
  const model = GPT.fromConfig(config, { backend, seed: 1 })
  const optimizer = new AdamW(model.parameters(), { lr: 1e-3, weightDecay: 0.1 })
  const ids = randomIntegers(batchSize * context, vocabSize, 1)
  const tokens = model.tokens(ids, [batchSize, context])
  const targets = model.tokens(randomIntegers(batchSize * context, vocabSize, 2), [batchSize, context])

  const atRest = backend.memory().bytes
  resetPeakMemory()
  const before = processMemory().bytes
  backend.resetPeakMemory()
  const call = async () => {
    accumulateGradients(model, tokens, targets).dispose()
    await optimizer.step({ maxGradNorm: 1 })
    model.tape.zeroGrad(model.parameters().values())
  }
  const timing = await time({ call, sync: () => backend.sync() }, { samples, threads })
  const memory = { processBytes: Math.max(0, processMemory().peakBytes - before), tensorBytes: backend.memory().peakBytes - atRest }
  // After the timing, which is of steps that nothing measures from within.
  const profiled = profile ? { profile: await profileSteps(backend, call) } : {}
  const checks = await checkGradients(model, ids, batchSize)
  model.dispose()
  return {
    device: backend.info.driver,
    bytes: null,
    flops: batchSize * trainingFlops(model.config, context),
    checks,
    timing,
    memory,
    ...profiled,
  }
}

/** Leaves d loss / d parameter in every parameter's `grad`; returns the loss. */
function accumulateGradients(model: GPT, tokens: Tensor, targets: Tensor) {
  const loss = model.tape.scope(() => model.loss(tokens, targets, { ignoreIndex }))
  model.tape.backward(loss)
  return loss
}

/**
 * Compares the loss and every gradient with float64, from the weights that the timed steps arrived at and in their shapes. Only the first
 * positions of the first sequence have targets, so that the float64 model, which sees just those, takes seconds and not an hour.
 */
export async function checkGradients(model: GPT, ids: Int32Array, batchSize: number): Promise<Check[]> {
  const { config } = model
  const positions = Math.min(checkedPositions, config.contextLength)
  const targetIds = new Int32Array(ids.length).fill(ignoreIndex)
  targetIds.set(randomIntegers(positions, config.vocabSize, 3))
  const shape = [batchSize, config.contextLength]
  const actual = await lossAndGradients(model, model.tokens(ids, shape), model.tokens(targetIds, shape, ignoreIndex))

  const weights = new Map<string, { data: TypedArray; shape: readonly number[] }>()
  for (const [name, { value }] of model.parameters()) weights.set(name, { data: await value.read(), shape: value.shape })
  const compute = (precision: 'f64' | 'f32') => {
    const reference = withWeights(config, createReferenceBackend({ precision }), weights)
    const few = (data: Int32Array) => reference.tokens(data.subarray(0, positions))
    return lossAndGradients(reference, few(ids), few(targetIds))
  }
  const [oracle, naive] = [await compute('f64'), await compute('f32')]
  return [...actual].map(([name, values]) => {
    const parts = [{ actual: values, oracle: oracle.get(name) ?? [], naive: naive.get(name) ?? [] }]
    return check(name === 'loss' ? name : `gradient of ${name}`, parts, name === 'loss' ? forwardFactor : gradientFactor)
  })
}

function withWeights(config: GPTConfig, backend: Backend, weights: Map<string, { data: TypedArray; shape: readonly number[] }>): GPT {
  const entries = [...weights].map(([name, { data, shape }]) => [name, backend.tensor(data, shape)] as const)
  return new GPT(config, backend, entries)
}

async function lossAndGradients(model: GPT, tokens: Tensor, targets: Tensor): Promise<Map<string, TypedArray>> {
  const loss = accumulateGradients(model, tokens, targets)
  const values = new Map([['loss', await loss.value.read()]])
  for (const [name, { grad }] of model.parameters()) if (grad) values.set(name, await grad.read())
  loss.dispose()
  model.tape.zeroGrad(model.parameters().values())
  return values
}
