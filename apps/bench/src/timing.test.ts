import { createReferenceBackend } from '@tilegrad/core-math'
import { expect, it } from 'vitest'
import { median, time } from './timing'

it('takes the middle', () => {
  expect(median([5, 1, 3])).toBe(3)
  expect(median([4, 1, 3, 2])).toBe(2.5)
})

it('alternates candidates, releases every result but the last and gives as many samples as asked for', async () => {
  const log: string[] = []
  const live = new Set<string>()
  const candidate = (name: string) => ({
    run: () => {
      const until = performance.now() + 60
      while (performance.now() < until);
      const result = `${name}${log.length}`
      log.push(name)
      live.add(result)
      return result
    },
    release: (result: string) => {
      expect(live.delete(result)).toBe(true)
    },
  })
  const results = await time(createReferenceBackend(), [candidate('a'), candidate('b')], { samples: 5 })
  expect(results.map(({ timing }) => timing.samples.length)).toEqual([5, 5])
  expect(log.slice(-10).join('')).toBe('ababababab')
  expect([...live].sort()).toEqual(results.map(({ last }) => last).sort())
  for (const { timing } of results) expect(timing.min).toBeLessThanOrEqual(timing.median)
})
