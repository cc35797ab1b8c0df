import { expect, test } from 'vitest'
import { createCpuBackend } from './index'

const N = 65_536
const D = 64
// What must exist at once: q, k, v, out, dout, dq, dk and dv, N·D floats each; and, for each row, lse and delta, with a little for bookkeeping.
const c = 4 * (8 + 3 / D)

test(`causal attention, forward and backward, at N = ${N} holds at most c·N·D bytes`, { timeout: 900_000 }, async () => {
  const backend = await createCpuBackend()
  const own = backend.memory().bytes
  const residentBefore = process.resourceUsage().maxRSS * 1024
  const data = Float32Array.from({ length: N * D }, (_, i) => Math.sin(i * i))
  const input = () => backend.tensor(data, [1, N, 1, D])
  const [q, k, v, dout] = [input(), input(), input(), input()] as const

  const { out, lse } = backend.kernels.attentionForward(q, k, v, { causal: true })
  const { dq, dk, dv } = backend.kernels.attentionBackward(dout, q, k, v, out, lse, { causal: true })
  const last = dq.slice([0, N - 1], [1, N])
  const lastRow = await last.read()

  expect(lastRow.every(Number.isFinite) && lastRow.some((x) => x !== 0)).toBe(true)
  expect(backend.memory().peakBytes - own).toBeLessThanOrEqual(c * N * D)
  // The process agrees: with the workspace of the forward pass, which stays cached, and the array above, it is less than twice as much.
  const resident = process.resourceUsage().maxRSS * 1024 - residentBefore
  expect(resident).toBeLessThan(own + 2 * c * N * D)

  for (const tensor of [q, k, v, dout, out, lse, dq, dk, dv, last]) tensor.dispose()
  expect(backend.memory().bytes).toBe(own)
  await backend.dispose()
})
