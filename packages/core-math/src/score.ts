import { dot, type HeadProblem, type Rows } from './attention-problem'

/** Scores of a tile before its mask: softmaxScale·(q·k), then softcap. */
export function tileScores(q: Rows, k: Rows, problem: HeadProblem): Float64Array[] {
  const { softmaxScale, softcap } = problem
  return q.map((row) =>
    Float64Array.from(k, (key) => {
      const s = softmaxScale * dot(row, key)
      return softcap > 0 ? softcap * Math.tanh(s / softcap) : s
    }),
  )
}

/** Derivative of the softcap at a capped score: d/dx c·tanh(x/c) = 1 − tanh²(x/c). */
export function softcapSlope(score: number, softcap: number): number {
  return softcap > 0 ? 1 - (score / softcap) ** 2 : 1
}
