/** The largest scores of one row seen so far, from the largest down; of equal ones the lower index first, in whatever order they come. */
export class TopK {
  readonly scores: number[] = []
  readonly indices: number[] = []

  constructor(readonly size: number) {}

  /** Takes in the score of key j; −∞ is a key that is not seen. */
  insert(score: number, j: number): void {
    if (score === Number.NEGATIVE_INFINITY) return
    let at = this.scores.length
    while (at > 0 && this.before(score, j, at - 1)) at--
    if (at >= this.size) return
    this.scores.splice(at, 0, score)
    this.indices.splice(at, 0, j)
    this.scores.length = Math.min(this.scores.length, this.size)
    this.indices.length = Math.min(this.indices.length, this.size)
  }

  /** Takes in what another state has seen of the row, over other keys. */
  merge(from: TopK): void {
    from.scores.forEach((score, n) => {
      this.insert(score, from.indices[n] as number)
    })
  }

  private before(score: number, j: number, n: number): boolean {
    const other = this.scores[n] as number
    return score > other || (score === other && j < (this.indices[n] as number))
  }
}
