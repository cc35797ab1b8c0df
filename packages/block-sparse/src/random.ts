/**
 * A random word of a list of integers, by MurmurHash3 (Austin Appleby, public domain, x86_32 variant) over their low 32 bits. Counter-based: any
 * word can be had in any order, and 32-bit integer arithmetic gives the same one on every platform.
 */
export function randomWord(...counters: readonly number[]): number {
  let hash = 0
  for (const counter of counters) {
    const mixed = Math.imul(counter, 0xcc9e2d51)
    hash ^= Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593)
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0
  }
  hash ^= counters.length * 4
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/**
 * `count` distinct integers of 0..n−1 (all n, if there are no more), ascending, each set as likely as any other: Floyd's algorithm
 * (Bentley and Floyd, "A sample of brilliance", CACM 30(9), 1987), in time and memory of `count`.
 *
 * @param word The random word of a draw.
 */
export function sampleDistinct(n: number, count: number, word: (draw: number) => number): number[] {
  const sample = new Set<number>()
  for (let last = Math.max(0, n - count); last < n; last++) {
    const drawn = Math.floor((word(last) / 2 ** 32) * (last + 1))
    sample.add(sample.has(drawn) ? last : drawn)
  }
  return [...sample].sort((a, b) => a - b)
}
