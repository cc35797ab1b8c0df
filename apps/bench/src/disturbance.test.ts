import { expect, it } from 'vitest'
import { isDisturbed, type LostTime } from './disturbance'

const others = (seconds: number) => new Map([['7', seconds]])
const before: LostTime = { waiting: 1, stolen: 1, others: others(1) }

it.each<[string, Partial<LostTime>, boolean]>([
  ['nothing lost', {}, false],
  ['a twentieth of the time waited for a core that others had', { waiting: 1.09, others: others(1.09) }, false],
  ['more than that', { waiting: 1.11, others: others(1.11) }, true],
  ['waited for each other', { waiting: 1.5 }, false],
  ['cores given to other machines', { stolen: 1.2 }, true],
  ['other processes busy on cores that this one did not want', { others: others(5) }, false],
  ['a thread that began meanwhile', { waiting: 1.5, others: new Map([['8', 0.5]]) }, true],
  ['a busy thread beside one that has ended', { waiting: 1.5, others: new Map([['9', 0.2]]) }, true],
])('judges a second of two threads: %s', (_what, change, disturbed) => {
  expect(isDisturbed(before, { ...before, ...change }, 1, 2)).toBe(disturbed)
})

it('goes by what the machine did besides, where nobody counts waiting', () => {
  const blind = { ...before, waiting: null }
  expect(isDisturbed(blind, { ...blind, others: others(1.5) }, 1, 2)).toBe(true)
  expect(isDisturbed(blind, { ...blind, others: others(1.05) }, 1, 2)).toBe(false)
})
