import { expect, it } from 'vitest'
import { isDisturbed, type LostTime } from './disturbance'

const before: LostTime = { waiting: 1, stolen: 1, others: 1 }

it.each<[string, Partial<LostTime>, boolean]>([
  ['nothing lost', {}, false],
  ['a twentieth of the time waited for a core', { waiting: 1.09 }, false],
  ['more than that', { waiting: 1.11 }, true],
  ['cores given to other machines', { stolen: 1.2 }, true],
  ['other processes busy on cores that this one did not want', { others: 5 }, false],
])('judges a second of two threads: %s', (_what, change, disturbed) => {
  expect(isDisturbed(before, { ...before, ...change }, 1, 2)).toBe(disturbed)
})

it('goes by what the machine did besides, where nobody counts waiting', () => {
  const blind = { ...before, waiting: null }
  expect(isDisturbed(blind, { ...blind, others: 1.5 }, 1, 2)).toBe(true)
  expect(isDisturbed(blind, { ...blind, others: 1.05 }, 1, 2)).toBe(false)
})
