import { expect, it, vi } from 'vitest'
import { median, time } from './timing'

it('takes the middle', () => {
  expect(median([5, 1, 3])).toBe(3)
  expect(median([4, 1, 3, 2])).toBe(2.5)
})

const workload = () => {
  const log = { calls: 0, syncs: 0 }
  return {
    log,
    call: () => {
      const until = performance.now() + 60
      while (performance.now() < until);
      log.calls++
    },
    sync: async () => {
      log.syncs++
    },
  }
}

it('gives as many samples as asked for, after a warm-up, and waits for the work of each', async () => {
  const work = workload()
  const timing = await time(work, { samples: 5, threads: 1 }, () => () => false)
  expect(timing).toMatchObject({ retaken: 0, disturbed: 0 })
  expect(timing.samples).toHaveLength(5)
  expect(work.log.calls).toBeGreaterThanOrEqual(7)
  expect(work.log.syncs).toBe(work.log.calls)
  expect(Math.min(...timing.samples)).toBeGreaterThanOrEqual(0.059)
})

it('takes disturbed samples again', async () => {
  let taken = 0
  const timing = await time(workload(), { samples: 5, threads: 1 }, () => () => ++taken % 3 === 0)
  expect(timing).toMatchObject({ retaken: 2, disturbed: 0 })
  expect(timing.samples).toHaveLength(5)
})

it('ends on a machine that is busy throughout, and says so', async () => {
  const timing = await time(workload(), { samples: 5, threads: 1 }, () => () => true)
  expect(timing.samples).toHaveLength(5)
  expect(timing).toMatchObject({ retaken: 5, disturbed: 5 })
})

it('judges the whole of a sample that is many calls, and its lead-in', async () => {
  let calls = 0
  const call = () => {
    calls++
    return new Promise<void>((resolve) => setTimeout(resolve, 2))
  }
  const work = { call, sync: async () => {} }
  const judged: number[] = []
  const timing = await time(work, { samples: 5, threads: 1 }, () => (seconds) => judged.push(seconds) === 0)
  expect(timing.callsPerSample).toBeGreaterThan(1)
  expect(calls).toBeGreaterThan(2 + 5 * (timing.callsPerSample + Math.ceil(timing.callsPerSample / 2)))
  expect(judged).toHaveLength(5)
  for (const [i, seconds] of judged.entries()) expect(seconds).toBeGreaterThan((timing.samples[i] as number) * timing.callsPerSample)
})

it('times calls alone, or each with its answer', async () => {
  let clock = 0
  const now = vi.spyOn(performance, 'now').mockImplementation(() => clock)
  const work = {
    call: () => {
      clock += 1
    },
    sync: async () => {
      clock += 1000
    },
  }
  const enqueued = await time(work, { samples: 5, threads: 1, until: 'enqueued' }, () => () => false)
  const answered = await time(work, { samples: 5, threads: 1, until: 'answered' }, () => () => false)
  now.mockRestore()
  expect(enqueued.median).toBe(0.001)
  expect(answered.median).toBe(1.001)
})

it('counts the calls of a sample by the time of calls that are warm', async () => {
  let calls = 0
  const call = () => new Promise<void>((resolve) => setTimeout(resolve, ++calls < 5 ? 30 : 2))
  const timing = await time({ call, sync: async () => {} }, { samples: 5, threads: 1 }, () => () => false)
  expect(timing.callsPerSample).toBeGreaterThan(4)
})
