import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import type { Backend } from '@tilegrad/tensor'
import { AdamW, GPT, type GPTConfigOptions, warmupCosine } from '@tilegrad/transformer'
import { describeMachine, type Machine } from '../machine'
import { randomIntegers } from '../random'

export const curves = ['flash', 'standard', 'standard, one bit changed'] as const
/** The third tells how much of a difference is rounding that training has amplified: the last bit of one initial weight differs. */
export type Curve = (typeof curves)[number]

export interface LossOptions {
  readonly steps: number
  readonly context: number
  readonly batchSize: number
  readonly dModel: number
  readonly nLayers: number
  readonly nHeads: number
  readonly lr: number
}

export interface TrainedCurve {
  readonly name: Curve
  /** Training loss before each step's update, in nats per byte. */
  readonly losses: readonly number[]
  /** ‖w − w′‖ / ‖w′‖ over all weights after the last step, w′ those of `standard`. */
  readonly weightDistance: number
}

export interface LossReport extends LossOptions {
  readonly date: string
  readonly machine: Machine
  readonly device: string
  readonly data: string
  readonly curves: readonly TrainedCurve[]
}

const seed = 1
const vocabSize = 256

/** Trains the same GPT on the same bytes in the same order with either attention, and once more from weights that differ in one bit. */
export async function measureLossCurves(options: LossOptions, runtime: 'native' | 'wasm'): Promise<LossReport> {
  const backend = await createCpuBackend({ runtime })
  const { path, bytes } = typeScriptLibrary()
  const trained = new Map<Curve, { losses: number[]; weights: Float32Array[] }>()
  for (const name of curves) {
    console.log(`${name} …`)
    trained.set(name, await train(backend, bytes, options, name))
  }
  await backend.dispose()
  const reference = trained.get('standard')?.weights ?? []
  return {
    date: new Date().toISOString(),
    machine: describeMachine(),
    device: backend.info.driver,
    data: path,
    ...options,
    curves: [...trained].map(([name, { losses, weights }]) => ({ name, losses, weightDistance: distance(weights, reference) })),
  }
}

/** Losses of every step, and the weights at the end. */
export async function train(backend: Backend, bytes: Uint8Array, options: LossOptions, curve: Curve) {
  const { steps, context, batchSize, dModel, nLayers, nHeads, lr } = options
  const attentionImpl = curve === 'flash' ? 'flash' : 'standard'
  const config: GPTConfigOptions = { vocabSize, contextLength: context, dModel, nLayers, nHeads, attentionImpl }
  const model = GPT.fromConfig(config, { backend, seed })
  if (curve === 'standard, one bit changed') await changeLastBit(model, bytes[0] as number)
  const optimizer = new AdamW(model.parameters(), { weightDecay: 0.1 })
  const rate = warmupCosine({ lr, warmupSteps: Math.ceil(steps / 10), totalSteps: steps })
  const losses: number[] = []
  for (let step = 0; step < steps; step++) {
    const starts = randomIntegers(batchSize, bytes.length - context, seed + step)
    const rows = (shift: number) => Array.from(starts, (start) => [...bytes.subarray(start + shift, start + shift + context)]).flat()
    const [tokens, targets] = [model.tokens(rows(0), [batchSize, context]), model.tokens(rows(1), [batchSize, context])]
    const loss = model.tape.scope(() => model.loss(tokens, targets))
    losses.push((await loss.value.read())[0] as number)
    model.tape.backward(loss)
    await optimizer.step({ lr: rate(step), maxGradNorm: 1 })
    model.zeroGrad()
    for (const done of [loss, tokens, targets]) done.dispose()
  }
  const weights: Float32Array[] = []
  for (const { value } of model.parameters().values()) weights.push(Float32Array.from(await value.read()))
  optimizer.dispose()
  model.dispose()
  return { losses, weights }
}

/** Of the first weight in the embedding of `token`. */
async function changeLastBit(model: GPT, token: number): Promise<void> {
  const { value } = model.parameters().values().next().value ?? {}
  if (!value) throw new Error('the model has no weights')
  const data = Float32Array.from(await value.read())
  const bits = new Uint32Array(data.buffer)
  const at = token * model.config.dModel
  bits[at] = (bits[at] as number) ^ 1
  const changed = model.backend.tensor(data, value.shape)
  model.backend.kernels.copy(changed, { out: value })
  changed.dispose()
}

function distance(weights: readonly Float32Array[], reference: readonly Float32Array[]): number {
  let [squares, size] = [0, 0]
  for (const [i, tensor] of reference.entries()) {
    for (const [j, expected] of tensor.entries()) {
      squares += ((weights[i]?.[j] as number) - expected) ** 2
      size += expected ** 2
    }
  }
  return Math.sqrt(squares / size)
}

/** Real text that is wherever this repository is installed. */
function typeScriptLibrary(): { path: string; bytes: Uint8Array } {
  const path = 'typescript/lib/lib.es5.d.ts'
  return { path, bytes: readFileSync(createRequire(import.meta.url).resolve(path)) }
}
