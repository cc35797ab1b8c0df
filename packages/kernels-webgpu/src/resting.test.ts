import { afterEach, expect, test, vi } from 'vitest'
import { restUntil } from './resting'

const milliseconds = (delay: number) => new Promise((resolve) => setTimeout(resolve, delay))
const turn = () => new Promise((resolve) => setImmediate(resolve))

const wait = vi.spyOn(Atomics, 'wait')
/** How long each turn of the event loop was asked to sleep. */
const sleeps = () => wait.mock.calls.map(([, , , timeout]) => timeout as number)
afterEach(() => wait.mockClear())

test('turns of the event loop sleep while something is awaited, for a sixteenth of the time so far and a millisecond at most', async () => {
  const began = performance.now()
  const work = milliseconds(100)
  restUntil(work)
  await work
  const waited = performance.now() - began
  expect(sleeps().at(-1)).toBe(1)
  expect(Math.max(...sleeps())).toBe(1)
  expect(sleeps()[0]).toBeLessThanOrEqual(waited / 16)
  expect([...sleeps()].sort((a, b) => a - b)).toEqual(sleeps())
})

test('works that fail, overlap or follow one another all end the sleeping', async () => {
  const works = [milliseconds(20), milliseconds(40), Promise.reject(new Error('failed'))]
  for (const work of works) restUntil(work)
  await Promise.allSettled(works)
  await turn()
  const next = milliseconds(20)
  restUntil(next)
  await next
  expect(sleeps().length).toBeGreaterThan(0)
  await turn()
  wait.mockClear()
  await milliseconds(20)
  expect(sleeps()).toEqual([])
})
