import { afterAll, beforeAll, expect, test } from 'vitest'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend, measurePeak } from './index'
import { fmaPeak, WORKGROUP } from './kernels/fma-peak'

let backend: WebGPUBackend
beforeAll(async () => {
  backend = await createWebGPUBackend()
})
afterAll(() => backend?.dispose())

test.each([true, false])('every invocation does all rounds of its twelve chains (FUSED=%s)', async (fused) => {
  const [invocations, rounds, factor] = [256, 100, Math.fround(0.99)]
  const sink = backend.empty([invocations])
  const workgroups = [invocations / WORKGROUP, 1, 1] as const
  const constants = { FUSED: fused, WORKGROUP }
  backend.context.run({ shader: fmaPeak, entry: 'fmaPeak', constants, bindings: { sink }, params: { rounds, factor }, workgroups })
  // x ← x·factor + (1 − factor) leaves 1 + (x₀ − 1)·factorᵏ after k rounds.
  const expected = (id: number) => {
    const starts = Array.from({ length: 12 }, (_, chain) => (id % 64) + 1 + chain)
    return starts.reduce((sum, start) => sum + 1 + (start - 1) * factor ** rounds, 0)
  }
  // Half an ulp of the largest element for each round and each term of the sum.
  const limit = (id: number) => (rounds + 12) * 2 ** -24 * 12 * ((id % 64) + 12)
  const got = await sink.read()
  sink.dispose()
  expect([...got].every((value, i) => Math.abs(value - expected(i)) <= limit(i))).toBe(true)
})

test('measurePeak gives a rate and leaves no memory behind', async () => {
  const before = backend.memory().bytes
  const { flopsPerSecond } = await measurePeak(backend)
  expect(flopsPerSecond).toBeGreaterThan(0)
  expect(Number.isFinite(flopsPerSecond)).toBe(true)
  expect(backend.memory().bytes).toBe(before)
})
