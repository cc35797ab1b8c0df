import { dot, type HeadProblem, type Rows } from './attention-problem'

/** Scores of one tile, [rows, keys] each. */
export interface TileScores {
  /** softmaxScale·(q·k), capped: what the softcap's derivative depends on. */
  readonly capped: Float64Array[]
  /** With ALiBi and bias; not yet masked. */
  readonly scores: Float64Array[]
}

/** Scores of queries [rowBegin, …) and keys [keyBegin, …) before their mask: softmaxScale·(q·k) → softcap → − slope·distance → + bias. */
export function tileScores(q: Rows, k: Rows, problem: HeadProblem, rowBegin: number, keyBegin: number): TileScores {
  const { softmaxScale, softcap, alibiSlope, bias } = problem
  const capped = q.map((row) =>
    Float64Array.from(k, (key) => {
      const s = softmaxScale * dot(row, key)
      return softcap > 0 ? softcap * Math.tanh(s / softcap) : s
    }),
  )
  const scores = capped.map((row, r) =>
    row.map((s, j) => {
      const [i, key] = [rowBegin + r, keyBegin + j]
      const biased = bias ? (bias.values[bias.begin + i * bias.strideQ + key * bias.strideK] as number) : 0
      return s - alibiSlope * distance(problem, i, key) + biased
    }),
  )
  return { capped, scores }
}

/** |i + seqlenK − seqlenQ − j|: how far key j is from where query i stands. */
export function distance({ seqlenQ, seqlenK }: HeadProblem, i: number, j: number): number {
  return Math.abs(i + seqlenK - seqlenQ - j)
}

/** Derivative of the softcap at a capped score: d/dx c·tanh(x/c) = 1 − tanh²(x/c). */
export function softcapSlope(capped: number, softcap: number): number {
  return softcap > 0 ? 1 - (capped / softcap) ** 2 : 1
}
