import { type MaskMod, type MaskTile, type TileBound, withTileBound } from '../mask-mod'

/** Sorted distinct positions, and which of them lie in a range. */
class Positions {
  readonly #sorted: Float64Array
  readonly #set: Set<number>

  constructor(positions: Iterable<number>) {
    this.#set = new Set(positions)
    this.#sorted = Float64Array.from(this.#set).sort()
  }

  has(position: number): boolean {
    return this.#set.has(position)
  }

  bound(begin: number, end: number): TileBound {
    const inside = this.#before(end) - this.#before(begin)
    if (inside === 0) return 'empty'
    return inside === end - begin ? 'full' : 'partial'
  }

  /** Those in the range, relative to its begin. */
  pattern(begin: number, end: number): string {
    return this.#sorted
      .subarray(this.#before(begin), this.#before(end))
      .map((position) => position - begin)
      .join()
  }

  /** How many are less than `limit`: binary search. */
  #before(limit: number): number {
    let low = 0
    let high = this.#sorted.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#sorted[middle]! < limit) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Queries at these positions see every key. */
export function queriesAt(positions: Iterable<number>, offset: number): MaskMod {
  const all = new Positions(positions)
  return withTileBound(
    (_b, _h, qIdx) => all.has(qIdx + offset),
    ({ qBegin, qEnd }) => all.bound(qBegin + offset, qEnd + offset),
    ({ qBegin, qEnd }) => all.pattern(qBegin + offset, qEnd + offset),
  )
}

/** Keys at these positions are seen by every query. */
export function keysAt(positions: Iterable<number>): MaskMod {
  const all = new Positions(positions)
  return withTileBound(
    (_b, _h, _qIdx, kvIdx) => all.has(kvIdx),
    ({ kvBegin, kvEnd }) => all.bound(kvBegin, kvEnd),
    ({ kvBegin, kvEnd }) => all.pattern(kvBegin, kvEnd),
  )
}

/** Keys before a limit that may depend on the batch. */
export function keysBefore(limitOf: (b: number) => number): MaskMod {
  return withTileBound(
    (b, _h, _qIdx, kvIdx) => kvIdx < limitOf(b),
    ({ b, kvBegin, kvEnd }: MaskTile) => {
      if (kvBegin >= limitOf(b)) return 'empty'
      return kvEnd <= limitOf(b) ? 'full' : 'partial'
    },
    ({ b, kvBegin }) => String(limitOf(b) - kvBegin),
  )
}
