/**
 * The slopes of ALiBi (arXiv 2108.12409, §3): 2^(−8/n), 2^(−16/n), … for n heads, n a power of two. For another n, those of the power of two below, then
 * every other one of the power of two above, as the authors' code has it.
 */
export function alibiSlopes(nHeads: number): Float32Array {
  const below = 2 ** Math.floor(Math.log2(nHeads))
  const slope = (n: number, i: number) => 2 ** ((-8 * (i + 1)) / n)
  return Float32Array.from({ length: nHeads }, (_, h) => (h < below ? slope(below, h) : slope(2 * below, 2 * (h - below))))
}
