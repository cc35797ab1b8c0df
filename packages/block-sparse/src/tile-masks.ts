import { ArgumentError } from '@tilegrad/tensor'
import { type MaskMod, type MaskTile, tileBoundOf } from './mask-mod'

/** What kvBits and qBits hold for a tile whose pairs are all visible. */
export const FULL = -1
/** A tile that the mask does not list. */
export const EMPTY = -2

/** Sorts tiles into full, empty and partial, and collects the bit masks of the partial ones: equal masks once. */
export class TileMasks {
  readonly #masks: Int32Array[] = []
  /** Masks by hash of their words. */
  readonly #byHash = new Map<number, number[]>()
  /** What a named pattern turned out to be. */
  readonly #byPattern = new Map<string, number>()
  readonly #wordsPerRow: number
  /** The mask being written; kept as one of `#masks` if it is new. */
  #words: Int32Array

  constructor(
    readonly fn: string,
    readonly maskMod: MaskMod,
    readonly blockM: number,
    blockN: number,
  ) {
    this.#wordsPerRow = blockN / 32
    this.#words = new Int32Array(blockM * this.#wordsPerRow)
  }

  /** FULL, EMPTY or the index of the tile's mask. O(1) where the bound or a known pattern tells; else it looks at every pair. */
  classify(tile: MaskTile): number {
    const bound = tileBoundOf(this.maskMod, tile)
    if (bound === 'full') return FULL
    if (bound === 'empty') return EMPTY
    if (bound !== 'partial') throw new ArgumentError(this.fn, "maskMod.tileBound must give 'full', 'partial' or 'empty'", String(bound))
    const name = this.maskMod.tilePattern?.(tile)
    if (name === undefined) return this.look(tile)
    const pattern = `${tile.qEnd - tile.qBegin},${tile.kvEnd - tile.kvBegin},${name}`
    let known = this.#byPattern.get(pattern)
    if (known === undefined) {
      known = this.look(tile)
      this.#byPattern.set(pattern, known)
    }
    return known
  }

  /** As `classify`, by the pairs alone. Bits beyond the sequence lengths stay 0. */
  look({ b, h, qBegin, qEnd, kvBegin, kvEnd }: MaskTile): number {
    const { maskMod } = this
    const words = this.#words
    words.fill(0)
    let visible = 0
    for (let i = qBegin; i < qEnd; i++) {
      const row = (i - qBegin) * this.#wordsPerRow
      for (let j = kvBegin; j < kvEnd; j++) {
        if (!maskMod(b, h, i, j)) continue
        const bit = j - kvBegin
        words[row + (bit >> 5)]! |= 1 << (bit & 31)
        visible++
      }
    }
    if (visible === 0) return EMPTY
    if (visible === (qEnd - qBegin) * (kvEnd - kvBegin)) return FULL
    return this.#indexOf(words)
  }

  #indexOf(words: Int32Array): number {
    let hash = 0
    for (const word of words) hash = (Math.imul(hash ^ word, 0x01000193) + (word >>> 15)) | 0
    let candidates = this.#byHash.get(hash)
    if (candidates === undefined) {
      candidates = []
      this.#byHash.set(hash, candidates)
    }
    for (const candidate of candidates) {
      const other = this.#masks[candidate] as Int32Array
      if (words.every((word, i) => word === other[i])) return candidate
    }
    candidates.push(this.#masks.length)
    this.#masks.push(words)
    this.#words = new Int32Array(words.length)
    return this.#masks.length - 1
  }

  /** All masks in a row, as `BlockMask.bits`. */
  bits(): Int32Array {
    const bits = new Int32Array(this.#masks.length * this.#words.length)
    for (const [i, mask] of this.#masks.entries()) bits.set(mask, i * mask.length)
    return bits
  }
}
