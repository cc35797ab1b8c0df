import type { AttentionProblem, Sequence } from '@tilegrad/tensor'

/** A matrix as an array of its rows. */
export type Rows = readonly Float64Array[]

/** What one head of attention needs to know: of the problem, and of its sequence. */
export type HeadProblem = Pick<AttentionProblem, 'headDim' | 'headDimV' | 'softmaxScale' | 'softcap'> &
  Pick<Sequence, 'seqlenQ' | 'seqlenK' | 'diagonalMin' | 'diagonalMax'>

export function zeroRows(rows: number, columns: number): Float64Array[] {
  return Array.from({ length: rows }, () => new Float64Array(columns))
}

/** Σ a·b. */
export function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, x, d) => sum + x * (b[d] as number), 0)
}

/** y += factor·x. */
export function addScaled(y: Float64Array, x: Float64Array, factor: number): void {
  for (let d = 0; d < y.length; d++) y[d] = (y[d] as number) + factor * (x[d] as number)
}

/** x *= factor. */
export function scaleRow(x: Float64Array, factor: number): void {
  for (let d = 0; d < x.length; d++) x[d] = (x[d] as number) * factor
}
