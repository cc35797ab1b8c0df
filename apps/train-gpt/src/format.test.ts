import { expect, it } from 'vitest'
import { formatBytes, formatCount, formatDuration, printable } from './format'

it('formats for people', () => {
  expect([0.5, 7, 999, 1234, 999_960, 3_456_789, 2.34e11].map(formatCount)).toEqual(['0.5', '7', '999', '1.23K', '1.00M', '3.46M', '234G'])
  expect([12, 2048, 3.2e8, 2 ** 31].map(formatBytes)).toEqual(['12 B', '2 KiB', '305 MiB', '2 GiB'])
  expect([0, 59.6, 3723, Number.POSITIVE_INFINITY].map(formatDuration)).toEqual(['0:00', '1:00', '1:02:03', '-:--'])
})

it('shows control characters as dots', () => {
  expect(printable('a\u001b[31mb\n\tç\u0007\u009b 漢😀')).toBe('a·[31mb\n\tç·· 漢😀')
})
