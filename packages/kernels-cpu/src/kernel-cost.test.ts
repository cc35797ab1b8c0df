import { createReferenceBackend } from '@tilegrad/core-math'
import { describe, expect, it } from 'vitest'
import { kernelBytes, kernelWork, visiblePairs } from './kernel-cost'

const backend = createReferenceBackend()
const tensor = (...shape: number[]) => backend.empty(shape)

describe('visiblePairs', () => {
  it.each([
    [5, 9, { causal: true }, (i: number, j: number) => j <= i + 4],
    [9, 5, { causal: true }, (i: number, j: number) => j <= i - 4],
    [5, 9, { causal: true, causalAlign: 'top-left' as const }, (i: number, j: number) => j <= i],
    [7, 7, { windowSize: [2, 1] as const }, (i: number, j: number) => j >= i - 2 && j <= i + 1],
    [7, 7, { causal: true, windowSize: [2, -1] as const }, (i: number, j: number) => j >= i - 2 && j <= i],
    [3, 4, {}, () => true],
  ])('counts %d × %d with %o', (seqlenQ, seqlenK, options, visible) => {
    let pairs = 0
    for (let i = 0; i < seqlenQ; i++) for (let j = 0; j < seqlenK; j++) if (visible(i, j)) pairs++
    expect(visiblePairs(seqlenQ, seqlenK, options)).toBe(pairs)
  })
})

describe('kernelWork', () => {
  it.each([
    ['matmul', [tensor(3, 4, 5), tensor(5, 6)], 2 * 12 * 6 * 5, '12×6×5'],
    ['matmul', [tensor(2, 5, 4), tensor(2, 6, 5), { transposeA: true, transposeB: true }], 2 * 8 * 6 * 5, '8×6×5 aᵀ bᵀ'],
    ['attentionForward', [tensor(2, 8, 4, 16), tensor(2, 8, 2, 16), tensor(2, 8, 2, 16)], 4 * 2 * 4 * 64 * 16, '2×8×4×16'],
    ['linearCrossEntropyBackward', [tensor(), tensor(7, 4), tensor(9, 4), tensor(7), tensor(7)], 6 * 7 * 9 * 4, '7×9×4'],
    ['scale', [tensor(7, 4), 2], 0, '7×4'],
  ])('counts %s of %#', (kernel, args, flops, shape) => {
    expect(kernelWork(kernel, args)).toEqual({ flops, shape })
  })

  it('counts five products backward, four with saved probabilities, two forward, over what causality and sequences keep', () => {
    const [q, lse] = [tensor(1, 8, 1, 4), tensor(1, 1, 8)]
    const causal = { causal: true }
    expect(kernelWork('attentionForward', [q, q, q, causal]).flops).toBe(2 * 2 * 36 * 4)
    expect(kernelWork('attentionBackward', [q, q, q, q, q, lse, causal]).flops).toBe(2 * 5 * 36 * 4)
    const saved = { causal: true, probabilities: tensor(1, 1, 8, 8) }
    expect(kernelWork('attentionBackward', [q, q, q, q, q, lse, saved]).flops).toBe(2 * 4 * 36 * 4)
    const packed = tensor(8, 1, 4)
    const sequences = { causal: true, cuSeqlensQ: Int32Array.of(0, 3, 8), cuSeqlensK: Int32Array.of(0, 3, 8) }
    expect(kernelWork('attentionForward', [packed, packed, packed, sequences]).flops).toBe(2 * 2 * (6 + 15) * 4)
  })
})

describe('kernelBytes', () => {
  const x = tensor(10)
  it.each([
    ['new results', 'add', [x, x], tensor(10), 3],
    ['a result in a given tensor', 'add', [x, x, { out: x }], x, 3],
    ['what is accumulated into, read and written', 'matmul', [x, x, { accumulateInto: x }], x, 4],
    ['several results', 'swigluBackward', [x, x, x], { dgate: x, dup: x }, 5],
    ['parameter and moments in place', 'adamwStep', [x, x, x, x, { lr: 1 }], undefined, 7],
    ['only the rows of a table that are read', 'embeddingForward', [x, tensor(1000)], x, 3],
  ])('counts %s', (_what, kernel, args, result, tensors) => {
    expect(kernelBytes(kernel, args, result)).toBe(tensors * 40)
  })
})
