import { describe, expect, test } from 'vitest'
import { type Factors, pairwise, type Row } from './pairwise'

const FACTORS = { a: [0, 1, 2, 3, 4, 5], b: ['x', 'y', 'z'], c: [false, true], d: [undefined, 1, 2, 3], e: [0, 1] } as const

/** Pairs of values of two factors that occur in no row. */
function missing<F extends Factors>(factors: F, rows: readonly Row<F>[]): string[] {
  const names = Object.keys(factors)
  return names.flatMap((f, i) =>
    names
      .slice(i + 1)
      .flatMap((g) =>
        (factors[f] as unknown[]).flatMap((x) =>
          (factors[g] as unknown[]).flatMap((y) => (rows.some((row) => row[f] === x && row[g] === y) ? [] : [`${f} ${x}, ${g} ${y}`])),
        ),
      ),
  )
}

describe('pairwise', () => {
  test('covers every pair, in far fewer rows than there are combinations', () => {
    const rows = pairwise('all', FACTORS)
    expect(missing(FACTORS, rows)).toEqual([])
    // 6 · 4 pairs of the two longest factors are the least; there are 288 combinations.
    expect(rows.length).toBeGreaterThanOrEqual(24)
    expect(rows.length).toBeLessThanOrEqual(36)
  })

  test('leaves out what is refused, and nothing else', () => {
    const rows = pairwise('some', FACTORS, ({ a, b }) => a === 2 && b !== undefined && b !== 'y')
    expect(missing(FACTORS, rows)).toEqual(['a 2, b x', 'a 2, b z'])
  })

  test('is the same every time, and another by another name', () => {
    expect(pairwise('all', FACTORS)).toEqual(pairwise('all', FACTORS))
    expect(pairwise('all', FACTORS)).not.toEqual(pairwise('other', FACTORS))
  })

  test('says what no row can hold', () => {
    expect(() => pairwise('none', { a: [0], b: [0], c: [0] }, ({ a, b, c }) => a === 0 && b === 0 && c === 0)).toThrow(
      'no row can hold the pair 0:0 1:0 of none',
    )
  })
})
