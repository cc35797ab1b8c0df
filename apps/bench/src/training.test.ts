import { createReferenceBackend } from '@tilegrad/core-math'
import { GPT } from '@tilegrad/transformer'
import { describe, expect, it } from 'vitest'
import { randomIntegers } from './random'
import { checkGradients } from './training'

describe.each(['gpt2', 'llama'] as const)('the check of a training step of %s', (architecture) => {
  const config = { architecture, vocabSize: 20, contextLength: 40, nLayers: 2, nHeads: 2, dModel: 16 }
  const backend = createReferenceBackend({ precision: 'f32' })
  const ids = randomIntegers(2 * 40, 20, 1)

  it('covers the loss and every gradient', async () => {
    const model = GPT.fromConfig(config, { backend, seed: 1 })
    const checks = await checkGradients(model, ids, 2)
    expect(checks.length).toBe(1 + model.parameters().size)
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
  })

  it('fails when the backward pass is wrong', async () => {
    const wrong = createReferenceBackend({ precision: 'f32' })
    const { attentionBackward } = wrong.kernels
    Object.assign(wrong.kernels, {
      attentionBackward: (...args: Parameters<typeof attentionBackward>) => {
        const { dq, dk, dv } = attentionBackward(...args)
        return { dq: wrong.kernels.scale(dq, 1.01), dk, dv }
      },
    })
    const checks = await checkGradients(GPT.fromConfig(config, { backend: wrong, seed: 1 }), ids, 2)
    expect(checks.some(({ ok }) => !ok)).toBe(true)
  })
})
