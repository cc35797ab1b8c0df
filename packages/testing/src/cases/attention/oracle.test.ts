import { afterAll, describe, expect, test } from 'vitest'
import { createOracle, expectedOf, magnitude, maxError, naiveError } from '../../kernel-case'
import { randomFor } from '../../random'
import { limit } from '../../tolerance'
import { attention } from './attention-case'
import { type AttentionCase, attentionCase, describeCase } from './attention-data'
import { type AttentionData, bruteForceAttention } from './brute-force'
import { pairs } from './pairs'

const oracle = createOracle()
afterAll(() => Promise.all([oracle.exact.dispose(), oracle.naive.dispose()]))

/** Float64 has 29 bits more than float32; three of them are for what two different float64 computations may differ by. */
const FINER = 2 ** -26

// The oracle decides what every backend computes, so something else has to decide on the oracle.
describe('the oracle equals attention pair by pair', () => {
  const empty: Partial<AttentionCase>[] = [
    { seqlenQ: 5, seqlenK: 0, sink: [1], alibi: { axes: 'H', slopes: [1] } },
    { sequences: [], alibi: { axes: 'BH', slopes: [1] } },
    { seqlenQ: 9, seqlenK: 4, bias: { axes: 'QK', hidden: 1 }, sink: [2] },
    { seqlenQ: 9, seqlenK: 4, bias: { axes: '', hidden: 1 } },
  ]
  const cases = [...pairs('full'), ...empty].map((overrides) => [describeCase(attentionCase(overrides)), overrides] as const)

  test.each(cases)('%s', async (_, overrides) => {
    const kernelCase = attention(overrides)
    const inputs = kernelCase.inputs(randomFor(kernelCase.name))
    const expected = await expectedOf(kernelCase, oracle, inputs, 'f32')
    const data = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor.data]))
    const { terms: _terms, ...results } = bruteForceAttention(attentionCase(overrides), data as unknown as AttentionData)
    for (const [name, { kind, data: exact, shape }] of expected.exact) {
      const got = results[name as keyof typeof results]
      expect([name, got.length]).toEqual([name, exact.length])
      const bound = limit(
        kind as 'forward',
        'f32',
        naiveError(name, expected.exact, expected.naive),
        magnitude(exact),
        expected.terms[name] ?? 0,
      )
      expect(maxError(name, got, exact, shape).value, name).toBeLessThanOrEqual(bound.value * FINER)
    }
  })
})
