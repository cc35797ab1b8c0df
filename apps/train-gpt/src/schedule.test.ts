import { describe, expect, it } from 'vitest'
import { completeTrainOptions } from './options'
import { Schedule } from './schedule'

const schedule = (given: Record<string, unknown>) => new Schedule(completeTrainOptions(given))

describe('learning rate', () => {
  it('rises over the warmup and falls along half a cosine to --min-lr', () => {
    const s = schedule({ lr: 1e-2, minLr: 1e-3, steps: 110, warmup: 10 })
    const rate = (done: number) => s.learningRate(done, 110)
    expect([rate(0), rate(4), rate(9), rate(10)]).toEqual([1e-3, 5e-3, 1e-2, 1e-2].map((x) => expect.closeTo(x, 12)))
    expect(rate(60)).toBeCloseTo(5.5e-3, 12)
    expect(rate(109)).toBeLessThan(1.01e-3)
  })

  it('of the warmup is the same before and after the total is planned', () => {
    const s = schedule({ warmup: 7 })
    for (let done = 0; done < 7; done++) expect(s.learningRate(done, null)).toBe(s.learningRate(done, 1000))
  })

  it('warms up over at most a tenth of few steps', () => {
    expect(schedule({ lr: 1, steps: 30 }).learningRate(2, 30)).toBe(1)
    expect(schedule({ lr: 1, steps: 30 }).learningRate(1, 30)).toBeCloseTo(2 / 3)
    expect(schedule({ lr: 1, steps: 1 }).learningRate(0, 1)).toBe(1)
  })
})

describe('plan', () => {
  it('limits the time where no steps are given', () => {
    expect(schedule({}).secondsLimit).toBe(300)
    expect(schedule({ steps: 5 }).secondsLimit).toBe(Number.POSITIVE_INFINITY)
    expect(schedule({ steps: 5, minutes: 2 }).secondsLimit).toBe(120)
  })

  it('fills the time with steps and what happens between them', () => {
    const s = schedule({ minutes: 10, valEvery: 10, saveEvery: 20, sampleEvery: 40 })
    const cost = { step: 0.5, validation: 2, save: 1, sample: 4 }
    const total = s.plan(20, 15, cost)
    const seconds = (steps: number) =>
      15 + (steps - 20) * 0.5 + ((steps - 20) / 10) * 2 + ((steps - 20) / 20) * 1 + ((steps - 20) / 40) * 4 + 7
    expect(seconds(total)).toBeLessThanOrEqual(570)
    expect(seconds(total + 2)).toBeGreaterThan(570)
  })

  it('is due after the warmup, or a tenth of the time', () => {
    const s = schedule({ minutes: 10, warmup: 8 })
    expect([s.isPlanDue(7, 10), s.isPlanDue(8, 10), s.isPlanDue(2, 60)]).toEqual([false, true, true])
    expect(schedule({ warmup: 0 }).isPlanDue(0, 0)).toBe(false)
  })

  it('takes one more step at least', () => {
    expect(schedule({}).plan(3, 299, { step: 100, validation: 1, sample: 1, save: 1 })).toBe(4)
  })
})
