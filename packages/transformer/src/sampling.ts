import { ArgumentError } from '@tilegrad/tensor'

/** How a token is drawn from logits. The filters apply in this order: temperature, topK, topP. */
export interface SamplingOptions {
  /** Divides the logits; 0 takes the most likely token. Default 1. */
  readonly temperature?: number
  /** Keep the k most likely tokens. Default 0: all. */
  readonly topK?: number
  /** Keep the fewest most likely tokens whose probabilities reach this sum (arXiv 1904.09751). Default 1: all. */
  readonly topP?: number
}

/** @throws ArgumentError for an option out of range. */
export function checkSampling(fn: string, { temperature = 1, topK = 0, topP = 1 }: SamplingOptions): Required<SamplingOptions> {
  if (!(temperature >= 0 && Number.isFinite(temperature))) {
    throw new ArgumentError(fn, 'temperature must be a finite number ≥ 0', String(temperature))
  }
  if (!Number.isInteger(topK) || topK < 0) throw new ArgumentError(fn, 'topK must be an integer ≥ 0', String(topK))
  if (!(topP > 0 && topP <= 1)) throw new ArgumentError(fn, 'topP must be in (0, 1]', String(topP))
  return { temperature, topK, topP }
}

/**
 * Index of the token that `uniform` in [0, 1) selects. Of equally likely tokens the lower index counts as the more likely one.
 * @throws ArgumentError if no logit is finite, or one is NaN.
 */
export function sampleToken(logits: ArrayLike<number>, options: Required<SamplingOptions>, uniform: number): number {
  const { temperature, topK, topP } = options
  const best = argmax(logits)
  if (temperature === 0) return best

  // 1. probabilities up to a factor; the largest is 1
  const max = logits[best] as number
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - max) / temperature))
  const candidates = Uint32Array.from(weights, (_, i) => i)
  if (topK === 0 && topP === 1) return draw(weights, candidates, uniform)

  // 2. the most likely first; the k first of them
  candidates.sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b)
  let kept = topK === 0 ? candidates : candidates.subarray(0, topK)

  // 3. the fewest of those that reach topP of their sum
  if (topP < 1) {
    const needed = topP * sum(weights, kept)
    let reached = 0
    let count = 0
    while (count < kept.length && reached < needed) reached += weights[kept[count++] as number] as number
    kept = kept.subarray(0, count)
  }
  return draw(weights, kept, uniform)
}

function draw(weights: Float64Array, candidates: Uint32Array, uniform: number): number {
  let left = uniform * sum(weights, candidates)
  for (const i of candidates) {
    left -= weights[i] as number
    if (left < 0) return i
  }
  // Rounding left a rest beyond the last of the mass: the last candidate that has any.
  let last = candidates.length - 1
  while (weights[candidates[last] as number] === 0) last--
  return candidates[last] as number
}

function sum(weights: Float64Array, candidates: Uint32Array): number {
  let total = 0
  for (const i of candidates) total += weights[i] as number
  return total
}

function argmax(logits: ArrayLike<number>): number {
  let best = -1
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i] as number
    if (Number.isNaN(logit) || logit === Number.POSITIVE_INFINITY) {
      throw new ArgumentError('sampleToken', 'logits must be finite or −∞', `${logit} at index ${i}`)
    }
    if (logit > Number.NEGATIVE_INFINITY && (best < 0 || logit > (logits[best] as number))) best = i
  }
  if (best < 0) throw new ArgumentError('sampleToken', 'at least one logit must be finite', 'none')
  return best
}
