import { expect, it } from 'vitest'
import { attentionFlops, trainingFlops, visiblePairs } from './flops'

it('counts the pairs that a causal mask keeps', () => {
  let pairs = 0
  for (let i = 0; i < 17; i++) for (let j = 0; j < 17; j++) if (j <= i) pairs++
  expect(visiblePairs(17, true)).toBe(pairs)
  expect(visiblePairs(17, false)).toBe(289)
})

it("counts attention as FlashAttention's papers do", () => {
  // 4·N²·d·heads forward, and 2.5 times that backward.
  expect(attentionFlops('forward', 2048, 8, 64, false)).toBe(4 * 2048 ** 2 * 64 * 8)
  expect(attentionFlops('forward+backward', 2048, 8, 64, false)).toBe(3.5 * 4 * 2048 ** 2 * 64 * 8)
})

it('counts a training step as three forward passes', () => {
  const shape = { tokens: 2 * 1024, seqlen: 1024, nLayers: 3, nHeads: 4, headDim: 64, matmulParameters: 1000 }
  const forward = 2 * 1000 * 2048 + 3 * attentionFlops('forward', 1024, 2 * 4, 64, true)
  expect(trainingFlops(shape)).toBe(3 * forward)
})
