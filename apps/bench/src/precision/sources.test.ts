import { createReferenceBackend } from '@tilegrad/core-math'
import { expect, it } from 'vitest'
import { randomInputs } from '../attention/problem'
import { tilegradRunner } from '../attention/tilegrad'
import { relativeErrors } from './errors'
import { gradients, prepare, roundings } from './sources'

const [seqlen, headDim] = [48, 16]
const rms = (actual: ArrayLike<number>, expected: ArrayLike<number>) => relativeErrors([{ actual, expected }]).rmsError

it("are float64's gradients where nothing is rounded", async () => {
  const shape = { batchSize: 1, seqlenQ: seqlen, seqlenK: seqlen, nHeads: 1, headDim, causal: false }
  const runner = tilegradRunner(createReferenceBackend({ precision: 'f64' }), 'standard', randomInputs(shape, 4), shape, 'forward+backward')
  await runner.call()
  const expected = (await runner.result()).gradients
  const actual = gradients(prepare(seqlen, headDim, 4), {})
  for (const what of ['dq', 'dk', 'dv'] as const) expect(rms(actual[what], expected?.[what] ?? [])).toBeLessThan(1e-14)
})

it('err by float32 roundings, and by more where the two passes round scores differently', () => {
  const head = prepare(seqlen, headDim, 16)
  const exact = gradients(head, {})
  for (const [name, rounding] of roundings) {
    const { dq } = gradients(head, rounding)
    expect(rms(dq, exact.dq), name).toBeGreaterThan(1e-9)
    expect(rms(dq, exact.dq), name).toBeLessThan(1e-4)
  }
  const ofScores = (scores: '(cq)·k' | 'independent') => rms(gradients(head, { scores }).dv, exact.dv)
  expect(ofScores('independent')).toBeGreaterThan(2 * ofScores('(cq)·k'))
})
