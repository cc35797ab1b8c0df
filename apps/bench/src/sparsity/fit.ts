/** Seconds that attention took at a share s of the tiles. */
export interface SparsityPoint {
  readonly s: number
  readonly seconds: number
}

/** seconds = fixed + slope·s. */
export interface LinearCost {
  readonly fixed: number
  readonly slope: number
}

/** More than s times the dense time that a mask may cost. */
export const allowedOverhead = 1.15

/** The line through the points that errs least relative to them (weights 1/seconds²); a negative fixed cost counts as none. */
export function fitCost(points: readonly SparsityPoint[]): LinearCost {
  const weighted = points.map(({ s, seconds }) => ({ s, seconds, weight: 1 / seconds ** 2 }))
  const sum = (of: (point: (typeof weighted)[number]) => number) => weighted.reduce((total, point) => total + point.weight * of(point), 0)
  const [w, x, xx, y, xy] = [sum(() => 1), sum(({ s }) => s), sum(({ s }) => s * s), sum((p) => p.seconds), sum((p) => p.s * p.seconds)]
  const determinant = w * xx - x * x
  if (points.length < 2 || determinant <= 0) throw new Error('a line needs points at two values of s')
  const fixed = (xx * y - x * xy) / determinant
  if (fixed < 0) return { fixed: 0, slope: xy / xx }
  return { fixed, slope: (w * xy - x * y) / determinant }
}

/** The time over 1.15 × (s × dense time) + fixed cost: at most 1 where the target is met. */
export function shareOfAllowed({ s, seconds }: SparsityPoint, denseSeconds: number, { fixed }: LinearCost): number {
  return seconds / (allowedOverhead * s * denseSeconds + fixed)
}
