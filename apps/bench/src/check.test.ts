import { describe, expect, it } from 'vitest'
import { check } from './check'

describe('check', () => {
  const oracle = [1, 2, 4]
  const naive = [1.001, 2, 4]

  it('allows a multiple of the error of naive float32', () => {
    expect(check('x', [{ actual: [1, 2.0015, 4], oracle, naive }], 2).ok).toBe(true)
    expect(check('x', [{ actual: [1, 2.0025, 4], oracle, naive }], 2).ok).toBe(false)
    expect(check('x', [{ actual: [1, 2.0025, 4], oracle, naive }], 3).ok).toBe(true)
  })

  it('takes the worst of all parts', () => {
    const good = { actual: oracle, oracle, naive }
    expect(check('x', [good, { actual: [1, 2, 5], oracle, naive }, good], 2)).toMatchObject({ ok: false, maxError: 1 })
  })

  it.each([
    ['NaN', [1, Number.NaN, 4]],
    ['an infinity', [1, Number.POSITIVE_INFINITY, 4]],
    ['a missing element', [1, 2]],
    ['nothing', []],
  ])('refuses %s', (_what, actual) => {
    expect(check('x', [{ actual, oracle, naive }], 2).ok).toBe(false)
  })
})
