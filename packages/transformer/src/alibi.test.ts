import { expect, test } from 'vitest'
import { alibiSlopes } from './alibi'

// The paper names these for 8 and 16 heads; 12 heads take those of 8, then the first, third, … of 16.
test.each([
  [1, [2 ** -8]],
  [2, [2 ** -4, 2 ** -8]],
  [8, [1, 2, 3, 4, 5, 6, 7, 8].map((i) => 2 ** -i)],
  [16, Array.from({ length: 16 }, (_, i) => 2 ** (-(i + 1) / 2))],
  [12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5].map((e) => 2 ** -e)],
])('%d heads', (nHeads, slopes) => {
  expect([...alibiSlopes(nHeads)]).toEqual(slopes.map(Math.fround))
})
