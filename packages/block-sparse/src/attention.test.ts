import { createReferenceBackend } from '@tilegrad/core-math'
import type { AttentionOptions } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import {
  and,
  bigBird,
  butterfly,
  causal,
  createBlockMask,
  document,
  fixed,
  localGlobal,
  type MaskMod,
  not,
  or,
  prefixLM,
  slidingWindow,
  strided,
} from './index'

const [B, H, Sq, Sk, D] = [2, 2, 150, 200, 4]
const offset = Sk - Sq

const masks: [name: string, mask: MaskMod][] = [
  ['causal', causal({ offset })],
  ['slidingWindow', slidingWindow([20, 5], { offset })],
  ['localGlobal', localGlobal({ windowSize: [30, 0], globalTokens: [0, 77], offset })],
  ['bigBird', bigBird({ seqlenK: Sk, blockSize: 16, seed: 3, offset })],
  ['strided', strided({ stride: 14, offset })],
  ['fixed', fixed({ stride: 32, summary: 8, offset })],
  ['prefixLM per batch', prefixLM({ prefixLength: [10, 90], offset })],
  [
    'document per batch, with padding',
    document(
      {
        cuSeqlens: [
          [0, 40, 150],
          [0, 60, 61, 120],
        ],
      },
      {
        cuSeqlens: [
          [0, 90, 200],
          [0, 7, 70, 130],
        ],
      },
    ),
  ],
  [
    'causal butterfly or the diagonal block',
    or(and(causal({ offset }), butterfly({ blockSize: 64, offset })), slidingWindow([0, 0], { offset })),
  ],
  ['rows that see nothing', and(not(causal()), slidingWindow([50, 50]))],
  ['a function of everything', (b, h, i, j) => (i * 7 + j * 5 + b * 3 + h) % 11 < 4],
]

describe('attention on the reference backend, in float64', () => {
  it.each(masks)('with the mask of %s is attention with a bias of −∞ where its function says no', async (_name, maskMod) => {
    const backend = createReferenceBackend()
    const { attentionForward, attentionBackward } = backend.kernels
    const wave = (shape: number[], phase: number) =>
      backend.tensor(
        Float64Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i * i + phase)),
        shape,
      )
    const [q, k, v, dout] = [wave([B, Sq, H, D], 0), wave([B, Sk, H, D], 1), wave([B, Sk, H, D], 2), wave([B, Sq, H, D], 3)] as const
    const hidden = Float64Array.from({ length: B * H * Sq * Sk }, (_, n) => {
      const [j, i] = [n % Sk, Math.floor(n / Sk) % Sq]
      return maskMod(Math.floor(n / (Sk * Sq * H)), Math.floor(n / (Sk * Sq)) % H, i, j) ? 0 : Number.NEGATIVE_INFINITY
    })
    const run = async (options: AttentionOptions) => {
      const { out, lse } = attentionForward(q, k, v, options)
      const { dq, dk, dv } = attentionBackward(dout, q, k, v, out, lse, { ...options, optionGradients: [] })
      return Promise.all([out, lse, dq, dk, dv].map((tensor) => tensor.read()))
    }
    const blockMask = createBlockMask(maskMod, { batchSize: B, nHeads: H, seqlenQ: Sq, seqlenK: Sk, blockM: 64, blockN: 64 })
    const masked = await run({ blockMask })
    const biased = await run({ bias: backend.tensor(hidden, [B, H, Sq, Sk]) })
    // The same float64 operations in the same order: a hidden pair adds exactly 0 to every sum.
    for (const [n, result] of masked.entries()) {
      expect(result.some((value) => value !== 0)).toBe(true)
      expect(result.every((value, i) => value === biased[n]?.[i])).toBe(true)
    }
    await backend.dispose()
  })
})
