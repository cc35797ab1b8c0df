/** Normally distributed float32 numbers, the same for the same seed (mulberry32, Box–Muller). */
export function randomNormal(length: number, seed: number): Float32Array {
  const uniform = mulberry32(seed)
  const values = new Float32Array(length)
  for (let i = 0; i < length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()))
    const angle = 2 * Math.PI * uniform()
    values[i] = radius * Math.cos(angle)
    if (i + 1 < length) values[i + 1] = radius * Math.sin(angle)
  }
  return values
}

/** Draws of the standard Gumbel distribution, −log(−log u). */
export function randomGumbel(length: number, seed: number): Float32Array {
  const uniform = mulberry32(seed)
  // Half a step away from 0, where the logarithm ends.
  return Float32Array.from({ length }, () => -Math.log(-Math.log(uniform() + 2 ** -33)))
}

/** Integers in 0..limit−1. */
export function randomIntegers(length: number, limit: number, seed: number): Int32Array {
  const uniform = mulberry32(seed)
  return Int32Array.from({ length }, () => Math.floor(uniform() * limit))
}

function mulberry32(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}
