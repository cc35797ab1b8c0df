import { createReferenceBackend } from '@tilegrad/core-math'
import type { Tensor } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import { checkAttention } from './check'
import { flashAttention } from './flash'
import { type AttentionResult, type AttentionShape, randomInputs, upload } from './problem'
import { standardAttention } from './standard'

const backend = createReferenceBackend({ precision: 'f32' })

describe.each([true, false])('checkAttention, causal %s', (causal) => {
  const shape: AttentionShape = { batchSize: 2, seqlen: 40, nHeads: 3, headDim: 16, causal }
  const inputs = randomInputs(shape)
  const tensors = upload(backend, inputs, shape)
  const flash = flashAttention(backend, tensors, shape, true)

  it('passes attention', async () => {
    const checks = await checkAttention(inputs, flash, shape)
    expect(checks.map(({ what }) => what).sort()).toEqual(['dk', 'dq', 'dv', 'lse', 'out'])
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
  })

  it('passes standard attention', async () => {
    const checks = await checkAttention(inputs, standardAttention(backend, tensors, shape, true), shape)
    expect(checks.map(({ what }) => what)).toEqual(expect.arrayContaining(['out', 'dq']))
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
  })

  const results: Record<string, (tensor: Tensor) => AttentionResult> = {
    out: (out) => ({ ...flash, out }),
    lse: (lse) => ({ ...flash, lse }),
    dq: (dq) => ({ ...flash, gradients: { ...gradients(), dq } }),
    dk: (dk) => ({ ...flash, gradients: { ...gradients(), dk } }),
    dv: (dv) => ({ ...flash, gradients: { ...gradients(), dv } }),
  }
  const gradients = () => flash.gradients ?? expect.fail('no gradients')

  it.each(Object.keys(results))('fails an error of a thousandth in %s', async (name) => {
    const right = name === 'out' ? flash.out : name === 'lse' ? flash.lse : gradients()[name as 'dq' | 'dk' | 'dv']
    const wrong = backend.kernels.scale(right ?? expect.fail('no lse'), 1.001)
    const checks = await checkAttention(inputs, results[name]?.(wrong) ?? flash, shape)
    expect(checks.find(({ what }) => what === name)?.ok).toBe(false)
  })
})
