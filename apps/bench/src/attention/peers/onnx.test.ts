import { expect, it } from 'vitest'
import { checkAttention } from '../check'
import { type AttentionShape, randomInputs } from '../problem'
import { load, PeerMissingError } from './load'
import { onnxRunner } from './onnx'

it.each([
  ['node', 'MultiHeadAttention', false],
  ['node', 'MultiHeadAttention', true],
  ['node', 'GroupQueryAttention', true],
  ['web', 'MultiHeadAttention', true],
] as const)('onnxruntime-%s understands our model of %s, causal %s, and means the same by it', async (runtime, operator, causal) => {
  const shape: AttentionShape = { batchSize: 2, seqlenQ: 20, seqlenK: 20, nHeads: 3, headDim: 16, causal }
  const inputs = randomInputs(shape)
  const runner = await onnxRunner(runtime, operator, inputs, shape, 1)
  await runner.call()
  expect(checkAttention(inputs, await runner.result(), shape).map(({ what, ok }) => [what, ok])).toEqual([['out', true]])
  await runner.close()
})

it('names a peer that is absent', async () => {
  await expect(load('not-a-peer')).rejects.toThrow(PeerMissingError)
  await expect(load('not-a-peer')).rejects.toThrow('not-a-peer cannot be loaded')
})
