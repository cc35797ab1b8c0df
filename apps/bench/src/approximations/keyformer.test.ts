import { createReferenceBackend } from '@tilegrad/core-math'
import { expect, it } from 'vitest'
import { randomGumbel, randomNormal } from '../random'
import { checkDecoded, checkScores } from './check-keyformer'
import { KeyformerCache, keptTokens } from './keyformer'

const [nHeads, headDim, cacheSize, recentWindow, generatedTokens, prompt, seed] = [2, 4, 8, 3, 10, 21, 7]
const length = prompt + generatedTokens
const [q, k, v] = [1, 2, 3].map((stream) => randomNormal(length * nHeads * headDim, stream)) as [Float32Array, Float32Array, Float32Array]

const element = (x: Float32Array, token: number, h: number, d: number) => x[(token * nHeads + h) * headDim + d] as number

function logit(i: number, j: number, h: number): number {
  let sum = 0
  for (let d = 0; d < headDim; d++) sum += element(q, i, h, d) * element(k, j, h, d)
  return sum / Math.sqrt(headDim)
}

function softmax(x: readonly number[]): number[] {
  const e = x.map(Math.exp)
  const total = e.reduce((a, b) => a + b, 0)
  return e.map((y) => y / total)
}

/** Attention of one query to some tokens. */
function attend(i: number, h: number, tokens: readonly number[]): number[] {
  const p = softmax(tokens.map((j) => logit(i, j, h)))
  return Array.from({ length: headDim }, (_, d) => p.reduce((sum, x, n) => sum + x * element(v, tokens[n] as number, h, d), 0))
}

/** Scores of the prompt's tokens, from all pairs. */
function promptScores(h: number): number[] {
  const noise = randomGumbel(nHeads * prompt, seed + 1)
  const scores = new Array<number>(prompt).fill(0)
  for (let i = 0; i < prompt; i++) {
    const row = Array.from({ length: i + 1 }, (_, j) => logit(i, j, h) + (noise[h * prompt + j] as number))
    for (const [j, p] of softmax(row).entries()) scores[j] = (scores[j] as number) + p
  }
  return scores
}

async function open(precision: 'f64' | 'f32' = 'f64') {
  const backend = createReferenceBackend({ precision })
  const cache = new KeyformerCache(backend, { nHeads, headDim, cacheSize, recentWindow, generatedTokens, seed })
  const tokens = (x: Float32Array, begin: number, end: number) =>
    backend.tensor(x.subarray(begin * nHeads * headDim, end * nHeads * headDim), [1, end - begin, nHeads, headDim])
  const of = (begin: number, end: number) => [tokens(q, begin, end), tokens(k, begin, end), tokens(v, begin, end)] as const
  const near = async (out: { read(): Promise<ArrayLike<number>> }, expected: readonly number[]) => {
    const actual = await out.read()
    for (const [i, x] of expected.entries()) expect(Math.abs((actual[i] as number) - x)).toBeLessThan(1e-12)
  }
  const kept = (h: number) => {
    const { positions, free } = cache.state().heads[h] as { positions: Int32Array; free: number }
    return [...positions].filter((_, slot) => slot !== free).sort((a, b) => a - b)
  }
  return { backend, cache, of, near, kept }
}

it('is exact over the prompt, and keeps the latest tokens and those of the highest noisy score', async () => {
  const { cache, of, near, kept } = await open()
  const out = await cache.prompt(...of(0, prompt))
  const all = Array.from({ length: prompt }, (_, i) => Array.from({ length: i + 1 }, (_, j) => j))
  await near(
    out,
    all.flatMap((tokens, i) => [0, 1].flatMap((h) => attend(i, h, tokens))),
  )
  for (const h of [0, 1]) {
    const scores = promptScores(h)
    const [older, recent] = [scores.slice(0, prompt - recentWindow), [prompt - 3, prompt - 2, prompt - 1]]
    const highest = [...older].sort((a, b) => b - a).slice(0, cacheSize - recentWindow)
    expect(kept(h)).toEqual([...highest.map((score) => older.indexOf(score)).sort((a, b) => a - b), ...recent])
  }
})

it('decodes as its definition does, token by token', async () => {
  const { cache, of, near, kept } = await open()
  await cache.prompt(...of(0, prompt))
  const scores = [0, 1].map(
    (h) => new Map(keptTokens(promptScores(h), { cacheSize, recentWindow }).map((j) => [j, promptScores(h)[j] ?? 0])),
  )
  const table = randomGumbel(2 * nHeads * (cacheSize + 1), seed)
  for (let t = 1; t <= generatedTokens; t++) {
    const token = prompt + t - 1
    const offset = cache.noiseOffset()
    const slots = [0, 1].map((h) => {
      const { positions, free } = cache.state().heads[h] as { positions: Int32Array; free: number }
      return Array.from(positions, (position, slot) => (slot === free ? token : position))
    })
    const out = await cache.decode(...of(token, token + 1))
    await near(
      out,
      slots.flatMap((tokens, h) => attend(token, h, tokens)),
    )
    for (const [h, tokens] of slots.entries()) {
      const tau = 1 + t / generatedTokens
      const noisy = tokens.map((j, slot) => (logit(token, j, h) + (table[offset + h * (cacheSize + 1) + slot] as number)) / tau)
      const added = softmax(noisy)
      const f = scores[h] as Map<number, number>
      for (const [slot, j] of tokens.entries()) f.set(j, (f.get(j) ?? 0) + (added[slot] as number))
      const older = tokens.filter((j) => j <= token - recentWindow)
      const lowest = older.reduce((a, b) => ((f.get(b) as number) < (f.get(a) as number) ? b : a))
      f.delete(lowest)
      expect(kept(h)).toEqual([...f.keys()].sort((a, b) => a - b))
      expect(kept(h).slice(-recentWindow)).toEqual([token - 2, token - 1, token])
    }
  }
})

it('draws other noise in each step, and releases what it takes', async () => {
  const { backend, cache, of } = await open()
  const outs = [await cache.prompt(...of(0, prompt))]
  const offsets = []
  for (let token = prompt; token < length; token++) {
    offsets.push(cache.noiseOffset())
    outs.push(await cache.decode(...of(token, token + 1)))
  }
  expect(new Set(offsets).size).toBeGreaterThan(offsets.length / 2)
  const inputs = 3 * 4 * (prompt + generatedTokens) * nHeads * headDim
  for (const out of outs) out.dispose()
  cache.dispose()
  expect(backend.memory().bytes).toBe(2 * inputs)
})

it('refuses a window as large as the cache, and a prompt shorter than it', async () => {
  const { backend, cache, of } = await open()
  expect(() => new KeyformerCache(backend, { nHeads, headDim, cacheSize, recentWindow: 8, generatedTokens, seed })).toThrow('recentWindow')
  await expect(cache.prompt(...of(0, cacheSize - 1))).rejects.toThrow('at least 8 tokens, got 7')
})

it('is checked in the run that is timed: outputs and scores', async () => {
  const { cache, of } = await open('f32')
  await cache.prompt(...of(0, prompt))
  const [token, ...others] = of(prompt, prompt + 1)
  const out = await (await cache.decode(token, ...others)).read()
  const { k: keys, v: values } = cache.state()
  const decoded = async (actual: typeof out) =>
    checkDecoded({ nHeads, headDim }, await token.read(), await keys.read(), await values.read(), cacheSize + 1, actual).ok
  expect(await decoded(out)).toBe(true)
  expect(await decoded(out.map((x) => x * 1.001) as typeof out)).toBe(false)
  const next = of(prompt + 1, prompt + 2)
  const scores = (noiseSeed: number) =>
    checkScores(cache, { q: next[0], k: next[1], v: next[2] }, noiseSeed, { nHeads, headDim }).then(({ ok }) => ok)
  expect(await scores(seed)).toBe(true)
  expect(await scores(seed + 1)).toBe(false)
})
