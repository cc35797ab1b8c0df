import { createReferenceBackend } from '@tilegrad/core-math'
import { describe, expect, it } from 'vitest'
import { type AttentionShape, randomInputs } from '../attention/problem'
import { upload } from '../attention/tilegrad'
import { SparseAttention, type SparseAttentionOptions } from './attention'
import { type CheckedResult, checkBlockSparse } from './check'
import { blockMaskOf, type MaskSpec } from './masks'

const shape: AttentionShape = { batchSize: 1, seqlenQ: 300, seqlenK: 300, nHeads: 2, headDim: 8, causal: false }
const inputs = randomInputs(shape)
const specs: MaskSpec[] = [
  { kind: 'balanced', blocks: 2, blockSize: 64, seed: 3 },
  { kind: 'longformer', window: 32, globalTokens: 1 },
]

async function resultUnder(spec: MaskSpec | null, options: Partial<SparseAttentionOptions> = {}): Promise<CheckedResult> {
  const backend = createReferenceBackend({ precision: 'f32' })
  const blockMask = spec === null ? null : blockMaskOf(spec, shape.seqlenQ)
  const all = { algorithm: 'flash', pass: 'forward+backward', shape, ...options } as const
  const attention = new SparseAttention(backend, upload(backend, inputs, shape), all, blockMask)
  attention.call()
  const bytes = backend.memory().bytes
  attention.call()
  expect(backend.memory().bytes).toBe(bytes)
  return attention.result()
}

describe.each(specs)('checkBlockSparse of $kind', (spec) => {
  const blockMask = blockMaskOf(spec, shape.seqlenQ)

  it('passes attention under the mask', async () => {
    const checks = checkBlockSparse(inputs, await resultUnder(spec), shape, blockMask)
    expect(checks.map(({ what, ok }) => [what, ok])).toEqual(['out', 'dq', 'lse', 'dk', 'dv'].map((what) => [what, true]))
  })

  it('fails attention without it', async () => {
    const checks = checkBlockSparse(inputs, await resultUnder(null), shape, blockMask)
    expect(checks.filter(({ ok }) => ok)).toEqual([])
    expect(checkBlockSparse(inputs, await resultUnder(null), shape, null).every(({ ok }) => ok)).toBe(true)
  })

  it.each(['out', 'lse', 'dq', 'dk', 'dv'])('fails an error of a thousandth in %s', async (name) => {
    const right = await resultUnder(spec)
    const scaled = (values: ArrayLike<number> = []) => Float32Array.from(values, (x) => x * 1.001)
    const { gradients } = right
    const wrong =
      name === 'out' || name === 'lse'
        ? { ...right, [name]: scaled(right[name]) }
        : { ...right, gradients: { ...gradients, [name]: scaled(gradients?.[name as 'dq']) } }
    expect(checkBlockSparse(inputs, wrong as CheckedResult, shape, blockMask).find(({ what }) => what === name)?.ok).toBe(false)
  })
})

it('takes each pass and standard attention', async () => {
  const whatIsRight = async (options: Partial<SparseAttentionOptions>) =>
    checkBlockSparse(inputs, await resultUnder(null, options), shape, null)
      .filter(({ ok }) => ok)
      .map(({ what }) => what)
  expect(await whatIsRight({ pass: 'forward' })).toEqual(['out', 'lse'])
  expect(await whatIsRight({ pass: 'backward' })).toEqual(['out', 'dq', 'lse', 'dk', 'dv'])
  expect(await whatIsRight({ algorithm: 'standard' })).toEqual(['out', 'dq', 'lse', 'dk', 'dv'])
})
