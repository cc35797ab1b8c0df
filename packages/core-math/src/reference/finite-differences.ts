/** A derivative by central differences, and how far off it may be. */
export interface FiniteDifference {
  readonly value: number
  readonly error: number
}

/**
 * ∂f/∂x_i for every element of `x`, which `f` reads and which is restored. The error is what halving the step changed
 * (three times the truncation error of the smaller step) plus the rounding of f over the step. For tests.
 */
export function finiteDifferences(f: () => number, x: Float64Array, step = 1e-4): FiniteDifference[] {
  const central = (i: number, h: number): number => {
    const original = x[i] as number
    x[i] = original + h
    const above = f()
    x[i] = original - h
    const below = f()
    x[i] = original
    return (above - below) / (2 * h)
  }
  const rounding = (1000 * Number.EPSILON * Math.max(1, Math.abs(f()))) / step
  return Array.from(x, (_, i) => {
    const value = central(i, step)
    return { value, error: Math.abs(value - central(i, 2 * step)) + rounding }
  })
}
