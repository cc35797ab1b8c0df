import type { FloatArray } from './reference'

/**
 * c[i, j] = Σ_k a[i, k]·b[j, k] for row-major a [m, k], b [n, k], c [m, n]: the one product that every other is brought to
 * by transposing copies, because it reads both operands in rows.
 *
 * Each sum runs in ascending k. Two rows by four columns run side by side to hide the latency of the additions.
 */
export function multiplyTransposed(a: FloatArray, b: FloatArray, c: FloatArray, m: number, n: number, k: number): void {
  if (a instanceof Float64Array) multiplyTransposedF64(a, b as Float64Array, c as Float64Array, m, n, k)
  else multiplyTransposedF32(a, b as Float32Array, c as Float32Array, m, n, k)
}

// The two bodies differ in Math.fround alone. They are two functions because one that took both array types or a rounding
// callback would run several times slower in both precisions.

function multiplyTransposedF64(a: Float64Array, b: Float64Array, c: Float64Array, m: number, n: number, k: number): void {
  for (let i = 0; i < m; i += 2) {
    const a0 = i * k
    const a1 = (i + 1 < m ? i + 1 : i) * k
    for (let j = 0; j < n; j += 4) {
      // Past the edge the last row or column is computed again, and stored once more with the same value.
      const b0 = j * k
      const b1 = Math.min(j + 1, n - 1) * k
      const b2 = Math.min(j + 2, n - 1) * k
      const b3 = Math.min(j + 3, n - 1) * k
      let s00 = 0
      let s01 = 0
      let s02 = 0
      let s03 = 0
      let s10 = 0
      let s11 = 0
      let s12 = 0
      let s13 = 0
      for (let p = 0; p < k; p++) {
        const x0 = a[a0 + p] as number
        const x1 = a[a1 + p] as number
        const y0 = b[b0 + p] as number
        const y1 = b[b1 + p] as number
        const y2 = b[b2 + p] as number
        const y3 = b[b3 + p] as number
        s00 += x0 * y0
        s01 += x0 * y1
        s02 += x0 * y2
        s03 += x0 * y3
        s10 += x1 * y0
        s11 += x1 * y1
        s12 += x1 * y2
        s13 += x1 * y3
      }
      const columns = Math.min(4, n - j)
      storeRow(c, i * n + j, columns, s00, s01, s02, s03)
      if (i + 1 < m) storeRow(c, (i + 1) * n + j, columns, s10, s11, s12, s13)
    }
  }
}

function multiplyTransposedF32(a: Float32Array, b: Float32Array, c: Float32Array, m: number, n: number, k: number): void {
  const r = Math.fround
  for (let i = 0; i < m; i += 2) {
    const a0 = i * k
    const a1 = (i + 1 < m ? i + 1 : i) * k
    for (let j = 0; j < n; j += 4) {
      const b0 = j * k
      const b1 = Math.min(j + 1, n - 1) * k
      const b2 = Math.min(j + 2, n - 1) * k
      const b3 = Math.min(j + 3, n - 1) * k
      let s00 = r(0)
      let s01 = r(0)
      let s02 = r(0)
      let s03 = r(0)
      let s10 = r(0)
      let s11 = r(0)
      let s12 = r(0)
      let s13 = r(0)
      for (let p = 0; p < k; p++) {
        const x0 = a[a0 + p] as number
        const x1 = a[a1 + p] as number
        const y0 = b[b0 + p] as number
        const y1 = b[b1 + p] as number
        const y2 = b[b2 + p] as number
        const y3 = b[b3 + p] as number
        s00 = r(s00 + r(x0 * y0))
        s01 = r(s01 + r(x0 * y1))
        s02 = r(s02 + r(x0 * y2))
        s03 = r(s03 + r(x0 * y3))
        s10 = r(s10 + r(x1 * y0))
        s11 = r(s11 + r(x1 * y1))
        s12 = r(s12 + r(x1 * y2))
        s13 = r(s13 + r(x1 * y3))
      }
      const columns = Math.min(4, n - j)
      storeRow(c, i * n + j, columns, s00, s01, s02, s03)
      if (i + 1 < m) storeRow(c, (i + 1) * n + j, columns, s10, s11, s12, s13)
    }
  }
}

function storeRow(c: FloatArray, at: number, columns: number, s0: number, s1: number, s2: number, s3: number): void {
  c[at] = s0
  if (columns > 1) c[at + 1] = s1
  if (columns > 2) c[at + 2] = s2
  if (columns > 3) c[at + 3] = s3
}

/** Row-major copy of x [rows, columns] as [columns, rows]. */
export function transposed<T extends FloatArray>(x: T, rows: number, columns: number): T {
  const result = x.slice() as T
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) result[j * rows + i] = x[i * columns + j] as number
  }
  return result
}
