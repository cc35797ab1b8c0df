import type { Tensor, TypedArray } from '@tilegrad/tensor'
import { queryRow } from '../attention/oracle'
import { type Check, type Comparison, check, forwardFactor } from '../check'
import { randomGumbel } from '../random'
import type { KeyformerCache } from './keyformer'

interface Heads {
  readonly nHeads: number
  readonly headDim: number
}

/** One query of every head against keys and values [1, seqlenK, H, D], with float64. */
export function checkDecoded(
  { nHeads, headDim }: Heads,
  q: TypedArray,
  k: TypedArray,
  v: TypedArray,
  seqlenK: number,
  actual: TypedArray,
): Check {
  const floats = (x: TypedArray) => Float32Array.from(x)
  const inputs = { q: floats(q), k: floats(k), v: floats(v), dout: new Float32Array(q.length) }
  const shape = { batchSize: 1, seqlenQ: 1, seqlenK, nHeads, headDim, causal: false }
  const parts = Array.from({ length: nHeads }, (_, head) => {
    const at = { batch: 0, head, row: 0 }
    const [oracle, naive] = [queryRow(inputs, shape, at, 'f64'), queryRow(inputs, shape, at, 'f32')]
    return { actual: actual.subarray(head * headDim, (head + 1) * headDim), oracle: oracle.out, naive: naive.out }
  })
  return check('out', parts, forwardFactor)
}

/** Decodes one more token, and compares what every key's score gained with softmax((x + ζ)/τ) in float64. */
export async function checkScores(
  cache: KeyformerCache,
  token: { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor },
  noiseSeed: number,
  { nHeads, headDim }: Heads,
): Promise<Check> {
  const before = cache.state().heads.map(({ scores, free }) => scores.map((score, slot) => (slot === free ? 0 : score)))
  const [offset, tau] = [cache.noiseOffset(), cache.temperature()]
  ;(await cache.decode(token.q, token.k, token.v)).dispose()
  const { k, heads } = cache.state()
  const [query, keys] = [await token.q.read(), await k.read()]
  const slots = keys.length / nHeads / headDim
  const noise = randomGumbel(2 * nHeads * slots, noiseSeed)
  const parts = heads.map(({ scores }, h): Comparison => {
    const gained = scores.map((score, slot) => score - (before[h]?.[slot] as number))
    const compute = (round: (x: number) => number) => {
      const scale = round(1 / Math.sqrt(headDim))
      const logits = Float64Array.from({ length: slots }, (_, slot) => {
        let sum = 0
        for (let d = 0; d < headDim; d++) {
          sum = round(sum + round((query[h * headDim + d] as number) * (keys[(slot * nHeads + h) * headDim + d] as number)))
        }
        return round(round(round(scale * sum) + (noise[offset + h * slots + slot] as number)) / tau)
      })
      const max = logits.reduce((a, b) => Math.max(a, b))
      const weights = logits.map((logit) => round(Math.exp(round(logit - max))))
      const total = weights.reduce((a, b) => round(a + b), 0)
      return weights.map((weight) => round(weight / total))
    }
    return { actual: gained, oracle: compute((x) => x), naive: compute(Math.fround) }
  })
  return check('scores', parts, forwardFactor)
}
