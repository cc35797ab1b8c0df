import { ArgumentError } from '@tilegrad/tensor'

/**
 * Philox4x32-10: a counter-based random generator (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). Random words are a function of key and counter alone, so that every backend draws the same ones in
 * any order, and a backward pass draws again what the forward pass drew.
 */

export type Words4 = readonly [number, number, number, number]
export type Words2 = readonly [number, number]

const MULTIPLIER_0 = 0xd2511f53
const MULTIPLIER_1 = 0xcd9e8d57
const WEYL_0 = 0x9e3779b9
const WEYL_1 = 0xbb67ae85
const ROUNDS = 10

/** High 32 bits of the product of two unsigned 32-bit words: no sum below reaches 2^32. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16
  const aLow = a & 0xffff
  const bHigh = b >>> 16
  const bLow = b & 0xffff
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  return aHigh * bHigh + (middle >>> 16) + ((aLow * bHigh + (middle & 0xffff)) >>> 16)
}

/** Four random unsigned 32-bit words of a 128-bit counter and a 64-bit key, least significant words first. */
export function philox4x32(counter: Words4, key: Words2): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0)
    const high1 = multiplyHigh(MULTIPLIER_1, c2)
    const low0 = Math.imul(MULTIPLIER_0, c0)
    const low1 = Math.imul(MULTIPLIER_1, c2)
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0
    k0 = (k0 + WEYL_0) >>> 0
    k1 = (k1 + WEYL_1) >>> 0
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0]
}

/** The key of a seed: an integer in 0..2^53−1. */
function keyOf(seed: number): Words2 {
  if (!Number.isSafeInteger(seed) || seed < 0) throw new ArgumentError('philox', 'seed must be an integer in 0..2^53−1', String(seed))
  return [seed >>> 0, Math.floor(seed / 2 ** 32)]
}

/**
 * The random word of the attention score of query i and key j in head `batchHead` = b·Hq + h: word j mod 4 of
 * counter (⌊j/4⌋, i, batchHead, 0), so that one Philox call serves four neighbouring keys.
 */
export function attentionRandomWord(seed: number, batchHead: number, i: number, j: number): number {
  return philox4x32([j >>> 2, i >>> 0, batchHead >>> 0, 0], keyOf(seed))[j & 3] as number
}

/** attentionRandomWord of the keys [keyBegin, keyEnd), drawing four at a time. */
export function attentionRandomRow(seed: number, batchHead: number, i: number, keyBegin: number, keyEnd: number): Uint32Array {
  const key = keyOf(seed)
  const words = new Uint32Array(Math.max(0, keyEnd - keyBegin))
  let four: readonly number[] = []
  for (let j = keyBegin; j < keyEnd; j++) {
    if (j === keyBegin || (j & 3) === 0) four = philox4x32([j >>> 2, i >>> 0, batchHead >>> 0, 0], key)
    words[j - keyBegin] = four[j & 3] as number
  }
  return words
}

/** Random numbers in sequence, the same for the same seed and stream on every platform. */
export class PhiloxStream {
  private readonly key: Words2
  private words: readonly number[] = []
  private used = 4
  private position = 0
  private spareNormal: number | undefined

  /**
   * Different streams of one seed are independent: one per tensor, say.
   * @throws ArgumentError unless seed and stream are integers in 0..2^53−1.
   */
  constructor(
    seed: number,
    private readonly stream = 0,
  ) {
    this.key = keyOf(seed)
    keyOf(stream)
  }

  /** Uniform unsigned 32-bit integer. */
  nextWord(): number {
    if (this.used === 4) {
      const position = this.position++
      this.words = philox4x32(
        [position >>> 0, Math.floor(position / 2 ** 32), this.stream >>> 0, Math.floor(this.stream / 2 ** 32)],
        this.key,
      )
      this.used = 0
    }
    return this.words[this.used++] as number
  }

  /** Uniform in [0, 1), with 53 random bits. */
  nextUniform(): number {
    const high = this.nextWord() >>> 5
    const low = this.nextWord() >>> 6
    return (high * 2 ** 26 + low) / 2 ** 53
  }

  /** Standard normal, by Box and Muller's transform. */
  nextNormal(): number {
    if (this.spareNormal !== undefined) {
      const normal = this.spareNormal
      this.spareNormal = undefined
      return normal
    }
    // 1 − u is in (0, 1], so that its logarithm is finite.
    const radius = Math.sqrt(-2 * Math.log(1 - this.nextUniform()))
    const angle = 2 * Math.PI * this.nextUniform()
    this.spareNormal = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }
}
