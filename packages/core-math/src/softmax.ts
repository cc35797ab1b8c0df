/**
 * Softmax of rows whose scores arrive tile by tile (Milakov and Gimelshein, arXiv 1805.02867; FlashAttention-2,
 * arXiv 2307.08691, §3.1). Per row it keeps the maximum m so far and the sum l of exp(s − m); whoever accumulates
 * O = Σ exp(s − m)·v beside it multiplies O by the factor that `update` returns.
 *
 * A row that has seen no key has m = −∞, l = 0; it subtracts 0 instead of −∞, so that exp(−∞) = 0 and no NaN arises.
 */
export class OnlineSoftmax {
  readonly rowMax: Float64Array
  readonly rowSum: Float64Array

  constructor(rows: number) {
    this.rowMax = new Float64Array(rows).fill(Number.NEGATIVE_INFINITY)
    this.rowSum = new Float64Array(rows)
  }

  /**
   * Takes in the scores of row r in one tile and turns them, in place, into exp(s − new maximum).
   * @returns the factor exp(old maximum − new maximum), by which what was accumulated before has to be multiplied.
   */
  update(r: number, scores: Float64Array): number {
    const oldMax = this.rowMax[r] as number
    const newMax = scores.reduce((max, s) => Math.max(max, s), oldMax)
    const shift = newMax === Number.NEGATIVE_INFINITY ? 0 : newMax
    let tileSum = 0
    for (let j = 0; j < scores.length; j++) {
      scores[j] = Math.exp((scores[j] as number) - shift)
      tileSum += scores[j] as number
    }
    const rescale = Math.exp(oldMax - shift)
    this.rowMax[r] = newMax
    this.rowSum[r] = (this.rowSum[r] as number) * rescale + tileSum
    return rescale
  }

  /**
   * Takes in what another state has seen of row r, over other keys: m = max(m₁, m₂), l = l₁·e^(m₁−m) + l₂·e^(m₂−m).
   * @returns the factors of the two O's: O = own·O₁ + other·O₂, both 0 if neither has seen a key.
   */
  merge(r: number, from: OnlineSoftmax): { own: number; other: number } {
    const ownMax = this.rowMax[r] as number
    const otherMax = from.rowMax[r] as number
    const rowMax = Math.max(ownMax, otherMax)
    const shift = rowMax === Number.NEGATIVE_INFINITY ? 0 : rowMax
    const own = Math.exp(ownMax - shift)
    const other = Math.exp(otherMax - shift)
    this.rowMax[r] = rowMax
    this.rowSum[r] = (this.rowSum[r] as number) * own + (from.rowSum[r] as number) * other
    return { own, other }
  }

  /**
   * Factor 1/l that makes O the weighted mean of V, and lse = m + ln l; 0 and −∞ for a row without keys. A sink is one more score that has no
   * value: counted once, after all keys and all merges, with the maximum that includes it.
   */
  finalise(r: number, sink = Number.NEGATIVE_INFINITY): { inverse: number; lse: number } {
    const oldMax = this.rowMax[r] as number
    const rowMax = Math.max(oldMax, sink)
    if (rowMax === Number.NEGATIVE_INFINITY) return { inverse: 0, lse: rowMax }
    const rescale = Math.exp(oldMax - rowMax)
    const rowSum = (this.rowSum[r] as number) * rescale + Math.exp(sink - rowMax)
    return { inverse: rescale / rowSum, lse: rowMax + Math.log(rowSum) }
  }
}
