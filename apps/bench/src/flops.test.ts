import { expect, it } from 'vitest'
import { attentionFlops, visiblePairs } from './flops'

it.each([
  [17, 17],
  [5, 17],
  [17, 5],
  [1, 9],
])('counts the pairs that a causal mask keeps of %d × %d', (seqlenQ, seqlenK) => {
  let pairs = 0
  for (let i = 0; i < seqlenQ; i++) for (let j = 0; j < seqlenK; j++) if (j <= i + seqlenK - seqlenQ) pairs++
  expect(visiblePairs({ seqlenQ, seqlenK, causal: true })).toBe(pairs)
  expect(visiblePairs({ seqlenQ, seqlenK, causal: false })).toBe(seqlenQ * seqlenK)
})

const shape = { batchSize: 2, seqlenQ: 1024, seqlenK: 1024, nHeads: 4, headDim: 64, causal: false }

it("counts attention as FlashAttention's papers do", () => {
  // 4·N²·d·heads forward, and 2.5 times that backward.
  expect(attentionFlops('forward', shape)).toBe(4 * 1024 ** 2 * 64 * 8)
  expect(attentionFlops('backward', shape)).toBe(2.5 * 4 * 1024 ** 2 * 64 * 8)
  expect(attentionFlops('forward+backward', shape)).toBe(3.5 * 4 * 1024 ** 2 * 64 * 8)
})
