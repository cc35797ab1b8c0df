/** An axis that several strided arrays share: its length, and the distance between neighbours in each of them. */
export interface Axis<Strides extends readonly number[]> {
  readonly size: number
  readonly strides: Strides
}

/** The same elements in the same order in as few axes as may be: axes of length 1 go, neighbours that lie like one axis in every array merge. */
export function mergeAxes<Strides extends readonly number[]>(axes: readonly Axis<Strides>[]): Axis<Strides>[] {
  const merged: Axis<Strides>[] = []
  for (const axis of axes) {
    if (axis.size === 1) continue
    const outer = merged.at(-1)
    if (outer?.strides.every((stride, i) => stride === axis.size * (axis.strides[i] as number))) {
      merged[merged.length - 1] = { size: outer.size * axis.size, strides: axis.strides }
    } else {
      merged.push(axis)
    }
  }
  return merged
}
