/** Seeded pseudo-random numbers: the same on every engine, and exactly representable in float32. */
export interface Random {
  /** Uniform in [0, 1). */
  uniform(): number
  /** Integer in low..high, both included. */
  integer(low: number, high: number): number
  /** Standard normal values times `scale`, plus `offset`. */
  normals(length: number, scale?: number, offset?: number): Float32Array
}

/** A generator of its own for every name, so that adding a case changes the numbers of no other. */
export function randomFor(name: string): Random {
  let state = 2166136261
  for (let i = 0; i < name.length; i++) state = Math.imul(state ^ name.charCodeAt(i), 16777619)

  // mulberry32 (Tommy Ettinger, public domain)
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  // Sum of twelve uniforms: bounded by ±6 and, unlike Box–Muller, without functions whose last bit differs between engines.
  const normal = (): number => {
    let sum = -6
    for (let i = 0; i < 12; i++) sum += uniform()
    return sum
  }
  return {
    uniform,
    integer: (low, high) => low + Math.floor(uniform() * (high - low + 1)),
    normals: (length, scale = 1, offset = 0) => Float32Array.from({ length }, () => normal() * scale + offset),
  }
}
