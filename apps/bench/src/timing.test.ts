import { expect, it, vi } from 'vitest'
import { median, time } from './timing'

it('takes the middle', () => {
  expect(median([5, 1, 3])).toBe(3)
  expect(median([4, 1, 3, 2])).toBe(2.5)
})

const workload = {
  call: () => {
    const until = performance.now() + 60
    while (performance.now() < until);
  },
  sync: async () => {},
}

/** A clock that stands still but for what calls take. */
async function withClock(run: (pass: (milliseconds: number) => void) => Promise<void>) {
  let clock = 0
  const now = vi.spyOn(performance, 'now').mockImplementation(() => clock)
  const pass = (milliseconds: number) => {
    clock += milliseconds
  }
  await run(pass).finally(() => now.mockRestore())
}

it('gives as many samples as asked for, after a warm-up, and waits for the work of each', () =>
  withClock(async (pass) => {
    const log = { calls: 0, syncs: 0 }
    const call = () => {
      pass(60)
      log.calls++
    }
    const sync = async () => {
      log.syncs++
    }
    const timing = await time({ call, sync }, { samples: 5, threads: 1 }, () => () => false)
    expect(timing).toMatchObject({ retaken: 0, disturbed: 0 })
    expect(timing.samples).toEqual(Array(5).fill(0.06))
    // A fifth of a second of warm-up is four calls.
    expect(log).toEqual({ calls: 9, syncs: 9 })
  }))

it('takes disturbed samples again', async () => {
  let taken = 0
  const timing = await time(workload, { samples: 5, threads: 1 }, () => () => ++taken % 3 === 0)
  expect(timing).toMatchObject({ retaken: 2, disturbed: 0 })
  expect(timing.samples).toHaveLength(5)
})

it('ends on a machine that is busy throughout, and says so', async () => {
  const timing = await time(workload, { samples: 5, threads: 1 }, () => () => true)
  expect(timing.samples).toHaveLength(5)
  expect(timing).toMatchObject({ retaken: 5, disturbed: 5 })
})

it('judges the whole of a sample that is many calls, and its lead-in', () =>
  withClock(async (pass) => {
    let calls = 0
    const call = () => {
      calls++
      pass(2)
    }
    const judged: number[] = []
    const timing = await time({ call, sync: async () => {} }, { samples: 5, threads: 1 }, () => (seconds) => judged.push(seconds) === 0)
    const { callsPerSample } = timing
    const leadIn = Math.ceil(callsPerSample / 2)
    expect(callsPerSample).toBe(25)
    // A hundred calls are the warm-up.
    expect(calls).toBe(100 + 5 * (callsPerSample + leadIn))
    expect(judged).toEqual(Array(5).fill((2 * (callsPerSample + leadIn)) / 1e3))
  }))

it('times calls alone, or each with its answer', () =>
  withClock(async (pass) => {
    const work = { call: () => pass(1), sync: async () => pass(1000) }
    const enqueued = await time(work, { samples: 5, threads: 1, until: 'enqueued' }, () => () => false)
    const answered = await time(work, { samples: 5, threads: 1, until: 'answered' }, () => () => false)
    expect(enqueued.median).toBe(0.001)
    expect(answered.median).toBe(1.001)
  }))

it('counts the calls of a sample by the time of calls that are warm', async () => {
  let calls = 0
  const call = () => new Promise<void>((resolve) => setTimeout(resolve, ++calls < 5 ? 30 : 2))
  const timing = await time({ call, sync: async () => {} }, { samples: 5, threads: 1 }, () => () => false)
  expect(timing.callsPerSample).toBeGreaterThan(4)
})
