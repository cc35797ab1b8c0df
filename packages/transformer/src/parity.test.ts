import { fileURLToPath } from 'node:url'
import { createReferenceBackend } from '@tilegrad/core-math'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import type { Backend } from '@tilegrad/tensor'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { declareSuite } from '../../../suite.shared'
import { AdamW, GPT, type GPTConfigOptions, loadWeights, readSafetensors, resolveConfig, type SafetensorsFile, warmupCosine } from './index'

declareSuite('parity')

/** What scripts/make-parity-fixtures.py wrote. */
interface Training {
  readonly lr: number
  readonly minLr: number
  readonly warmupSteps: number
  readonly beta1: number
  readonly beta2: number
  readonly eps: number
  readonly weightDecay: number
  readonly maxGradNorm: number
}

const native = await createCpuBackend({ runtime: 'native' }).then(
  async (backend) => {
    await backend.dispose()
    return 'available' as const
  },
  (error: Error) => error.message.split('\n')[0] as string,
)

/** float64 must agree to the rounding of the fixture itself; float32 to what PyTorch's float32 shows, by the 2× and 3× rule. */
const backends: readonly { name: string; exact: boolean; create: () => Backend | Promise<Backend>; unavailable?: string }[] = [
  { name: 'reference f64', exact: true, create: () => createReferenceBackend({ precision: 'f64' }) },
  { name: 'reference f32', exact: false, create: () => createReferenceBackend({ precision: 'f32' }) },
  { name: 'cpu wasm', exact: false, create: () => createCpuBackend({ runtime: 'wasm' }) },
  {
    name: 'cpu native',
    exact: false,
    create: () => createCpuBackend({ runtime: 'native' }),
    ...(native !== 'available' && { unavailable: native }),
  },
]
const variants: readonly Pick<GPTConfigOptions, 'attentionImpl' | 'activationCheckpointing'>[] = [
  { attentionImpl: 'flash', activationCheckpointing: false },
  { attentionImpl: 'standard', activationCheckpointing: true },
]

describe.each(['gpt2', 'llama'])('%s agrees with PyTorch', (architecture) => {
  let fixture: SafetensorsFile
  let options: GPTConfigOptions
  let training: Training
  let errors: Record<string, number[]>

  beforeAll(async () => {
    fixture = await readSafetensors(fileURLToPath(new URL(`../fixtures/${architecture}.safetensors`, import.meta.url)))
    options = JSON.parse(fixture.metadata.config as string)
    training = JSON.parse(fixture.metadata.training as string)
    errors = JSON.parse(fixture.metadata.errors as string)
  })
  afterAll(() => fixture.close())

  /** `actual` against tensor `key` of the fixture, part by part of its first axis. */
  async function compare(key: string, actual: ArrayLike<number>, exact: boolean, factor: number): Promise<string[]> {
    const expected = await fixture.readF32(key)
    expect(actual.length).toBe(expected.length)
    const parts = errors[key] as number[]
    const size = expected.length / parts.length
    // One unit in the last place of the largest element: half of it rounds what the fixture stores.
    const ulp = 2 ** -23 * expected.reduce((m, x) => Math.max(m, Math.abs(x)), 0)
    return parts.flatMap((error, part) => {
      const want = expected.subarray(part * size, (part + 1) * size)
      const limit = ulp + (exact ? 0 : factor * error)
      const worst = want.reduce((m, x, i) => Math.max(m, Math.abs(x - (actual[part * size + i] as number))), 0)
      return worst <= limit ? [] : [`${key} part ${part}: off by ${worst}, limit ${limit}`]
    })
  }

  const cases = backends.flatMap((backend) => variants.map((variant) => ({ ...backend, variant })))
  for (const { name, exact, create, unavailable, variant } of cases) {
    const title = `${name}, ${variant.attentionImpl} attention${variant.activationCheckpointing ? ', checkpointed' : ''}`
    test.skipIf(unavailable !== undefined)(`${title}${unavailable ? ` (${unavailable})` : ''}`, async () => {
      const backend = await create()
      const config = resolveConfig({ ...options, ...variant })
      const model = new GPT(config, backend, await loadWeights('fixture', initialWeights(fixture), config, backend))
      const { lr, minLr, warmupSteps, maxGradNorm, ...adam } = training
      const optimizer = new AdamW(model.parameters(), adam)
      const [totalSteps, batchSize, length] = fixture.shapes.get('tokens') as [number, number, number]
      const rate = warmupCosine({ lr, minLr, warmupSteps, totalSteps })
      const batches = batchesOf(await fixture.readI32('tokens'), totalSteps, batchSize, length)
      const wrong: string[] = []
      const losses: number[] = []

      for (const [step, { inputs, targets }] of batches.entries()) {
        const x = model.tokens(inputs, [batchSize, length - 1])
        if (step === 0) {
          const logits = model.tape.noGrad(() => model.forward(x))
          wrong.push(...(await compare('logits', await logits.value.read(), exact, 2)))
        }
        const loss = model.loss(x, model.tokens(targets, [batchSize, length - 1]))
        model.tape.backward(loss)
        losses.push((await loss.value.read())[0] as number)
        if (step === 0) {
          for (const [parameter, { grad }] of model.parameters()) {
            wrong.push(...(await compare(`grad.${parameter}`, (await grad?.read()) ?? [], exact, 3)))
          }
        }
        await optimizer.step({ lr: rate(step), maxGradNorm })
        model.zeroGrad()
      }
      for (const [parameter, { value }] of model.parameters()) {
        wrong.push(...(await compare(`after.${parameter}`, await value.read(), exact, 3)))
      }
      wrong.push(...(await compare('losses', losses, exact, 3)))
      expect(wrong).toEqual([])
      await backend.dispose()
    })
  }
})

/** The tensors `weight.*` of a fixture, under the names of a checkpoint. */
function initialWeights(fixture: SafetensorsFile) {
  const prefix = 'weight.'
  const named = Array.from(fixture.shapes).filter(([key]) => key.startsWith(prefix))
  return {
    metadata: {},
    shapes: new Map(named.map(([key, shape]) => [key.slice(prefix.length), shape])),
    readF32: (name: string) => fixture.readF32(prefix + name),
    close: async () => {},
  }
}

/** tokens [steps, B, T + 1] → inputs and targets [B, T] of each step. */
function batchesOf(tokens: Int32Array, steps: number, batchSize: number, length: number) {
  return Array.from({ length: steps }, (_, step) => {
    const rows = Array.from({ length: batchSize }, (_, row) => {
      const begin = (step * batchSize + row) * length
      return tokens.subarray(begin, begin + length)
    })
    return { inputs: rows.flatMap((row) => [...row.subarray(0, -1)]), targets: rows.flatMap((row) => [...row.subarray(1)]) }
  })
}
