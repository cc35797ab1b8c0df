import { createReferenceBackend } from '@tilegrad/core-math'
import { describe, expect, it } from 'vitest'
import { checkAttention } from './check'
import { keyRow, queryRow, rowStatistics } from './oracle'
import { type AttentionResult, type AttentionShape, randomInputs, roundTo } from './problem'
import { tilegradRunner } from './tilegrad'

const shapes: AttentionShape[] = [
  { batchSize: 2, seqlenQ: 40, seqlenK: 40, nHeads: 3, headDim: 16, causal: true },
  { batchSize: 2, seqlenQ: 40, seqlenK: 40, nHeads: 3, headDim: 16, causal: false },
  { batchSize: 1, seqlenQ: 1, seqlenK: 70, nHeads: 2, headDim: 8, causal: true },
]

async function resultOf(precision: 'f64' | 'f32', algorithm: 'flash' | 'standard', shape: AttentionShape): Promise<AttentionResult> {
  const runner = tilegradRunner(createReferenceBackend({ precision }), algorithm, randomInputs(shape), shape, 'forward+backward')
  await runner.call()
  return runner.result()
}

describe.each(shapes)('checkAttention of $seqlenQ × $seqlenK, causal $causal', (shape) => {
  const inputs = randomInputs(shape)

  it.each(['flash', 'standard'] as const)('passes %s attention', async (algorithm) => {
    const checks = checkAttention(inputs, await resultOf('f32', algorithm, shape), shape)
    expect(checks.map(({ what }) => what)).toEqual(expect.arrayContaining(['out', 'dq', 'dk', 'dv']))
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
  })

  it.each(['out', 'lse', 'dq', 'dk', 'dv'])('fails an error of a thousandth in %s', async (name) => {
    const right = await resultOf('f32', 'flash', shape)
    const { out, lse, gradients } = right
    const scaled = (values: ArrayLike<number> = []) => Float32Array.from(values, (x) => x * 1.001)
    const wrong =
      name === 'out' || name === 'lse'
        ? { ...right, [name]: scaled({ out, lse }[name]) }
        : { ...right, gradients: { ...gradients, [name]: scaled(gradients?.[name as 'dq']) } }
    expect(checkAttention(inputs, wrong as AttentionResult, shape).find(({ what }) => what === name)?.ok).toBe(false)
  })

  it("has an oracle that agrees with core-math's, to float64", async () => {
    const { out, lse, gradients } = await resultOf('f64', 'flash', shape)
    const [batch, head] = [shape.batchSize - 1, shape.nHeads - 1]
    const statistics = rowStatistics(inputs, shape, batch, head)
    const part = (whole: ArrayLike<number>, seqlen: number, row: number) =>
      Array.from(whole)
        .slice(((batch * seqlen + row) * shape.nHeads + head) * shape.headDim)
        .slice(0, shape.headDim)
    const near = (actual: ArrayLike<number>, expected: number[]) => {
      for (const [i, x] of expected.entries()) expect(Math.abs((actual[i] as number) - x)).toBeLessThan(1e-12)
    }
    const query = { batch, head, row: shape.seqlenQ - 1 }
    const rowOf = queryRow(inputs, shape, query, 'f64')
    near(rowOf.out, part(out, shape.seqlenQ, query.row))
    near(rowOf.dq, part(gradients?.dq ?? [], shape.seqlenQ, query.row))
    near([rowOf.lse], [lse?.at(-1) ?? Number.NaN])
    const key = { batch, head, row: shape.seqlenK >> 1 }
    const columnOf = keyRow(inputs, shape, key, statistics, 'f64')
    near(columnOf.dk, part(gradients?.dk ?? [], shape.seqlenK, key.row))
    near(columnOf.dv, part(gradients?.dv ?? [], shape.seqlenK, key.row))
  })
})

it('checks heads that share keys', async () => {
  const shape: AttentionShape = { batchSize: 2, seqlenQ: 1, seqlenK: 50, nHeads: 6, nHeadsK: 2, headDim: 8, causal: false }
  const inputs = randomInputs(shape)
  const runner = tilegradRunner(createReferenceBackend({ precision: 'f32' }), 'flash', inputs, shape, 'forward')
  await runner.call()
  const result = await runner.result()
  expect(checkAttention(inputs, result, shape).map(({ what, ok }) => [what, ok])).toEqual([
    ['out', true],
    ['lse', true],
  ])
  const everyHeadItsOwn = { ...shape, nHeadsK: 6 }
  const other = randomInputs(everyHeadItsOwn)
  expect(checkAttention({ ...other, q: inputs.q }, result, everyHeadItsOwn).some(({ ok }) => ok)).toBe(false)
  expect(() => checkAttention(inputs, { ...result, gradients: { dq: result.out, dk: result.out, dv: result.out } }, shape)).toThrow(
    'shared keys',
  )
})

describe('checkAttention in f16', () => {
  const shape: AttentionShape = { batchSize: 1, seqlenQ: 40, seqlenK: 40, nHeads: 2, headDim: 16, causal: true }
  const { q, k, v, dout } = randomInputs(shape)
  const inputs = { q: roundTo('f16', q), k: roundTo('f16', k), v: roundTo('f16', v), dout: roundTo('f16', dout) }

  it('takes the rounding of results in f16 for granted, and no more', async () => {
    const runner = tilegradRunner(createReferenceBackend({ precision: 'f32' }), 'flash', inputs, shape, 'backward', 'f16')
    await runner.call()
    await runner.call()
    const result = await runner.result()
    const checks = (what: AttentionResult, type: 'f32' | 'f16') =>
      checkAttention(inputs, what, shape, undefined, type).flatMap(({ what, ok }) => (ok ? [] : [what]))
    expect(checks(result, 'f16')).toEqual([])
    expect(checks(result, 'f32')).toContain('dv')
    const largest = (values: ArrayLike<number>) => Math.max(...Array.from(values, Math.abs))
    const step = (largest(result.out) * 2 ** -6) as number
    expect(checks({ ...result, out: Float32Array.from(result.out, (x) => x + step) }, 'f16')).toEqual(['out'])
  })
})
