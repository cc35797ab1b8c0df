import { createReferenceBackend } from '@tilegrad/core-math'
import { expect, it } from 'vitest'
import { train } from './loss-curves'

const options = { steps: 3, context: 8, batchSize: 2, dModel: 8, nLayers: 1, nHeads: 2, lr: 1e-2 }
const bytes = Uint8Array.from({ length: 64 }, (_, i) => 97 + ((i * i) % 7))
const run = (curve: 'flash' | 'standard' | 'standard, one bit changed', precision: 'f64' | 'f32' = 'f64') =>
  train(createReferenceBackend({ precision }), bytes, options, curve)

it('trains both attentions on the same data from the same weights: in float64 the losses agree', async () => {
  const [flash, standard] = [await run('flash'), await run('standard')]
  expect(flash.losses).toHaveLength(options.steps)
  for (const [step, loss] of flash.losses.entries()) expect(loss).toBeCloseTo(standard.losses[step] as number, 6)
  expect(standard.losses[2]).toBeLessThan(standard.losses[0] as number)
})

it('changes one bit of one initial weight, and no more', async () => {
  const untrained = { ...options, steps: 0 }
  const of = (curve: 'standard' | 'standard, one bit changed') =>
    train(createReferenceBackend({ precision: 'f32' }), bytes, { ...untrained, steps: 1, lr: 0 }, curve)
  const [before, after] = [(await of('standard')).weights, (await of('standard, one bit changed')).weights]
  const changes = before.flatMap((tensor, i) => [...tensor].map((x, j) => (after[i]?.[j] as number) - x)).filter((x) => x !== 0)
  expect(changes).toHaveLength(1)
  expect(Math.abs(changes[0] as number)).toBeLessThan(1e-8)
})
