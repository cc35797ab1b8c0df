import { expect, it } from 'vitest'
import { parsePatterns } from './pattern'

it.each([
  ['dense', [{ type: 'dense' }]],
  ['window:size=256', [{ type: 'window', size: 256 }]],
  ['local-global:window=256,global-tokens=16/dense', [{ type: 'localGlobal', window: 256, globalTokens: 16 }, { type: 'dense' }]],
  ['butterfly:block-size=64', [{ type: 'butterfly', blockSize: 64 }]],
])('reads %s', (text, patterns) => {
  expect(parsePatterns(text)).toEqual(patterns)
})

it.each([
  ['', 'have a type among dense, window'],
  ['sparse', 'have a type among dense, window'],
  ['window', 'have size, an integer ≥ 1'],
  ['window:', "got '' as a field"],
  ['window:size', "got 'size' as a field"],
  ['window:size=-1', "got 'size=-1' as a field"],
  ['window:size=0', 'have size, an integer ≥ 1'],
  ['window:length=4', 'have the fields type, size'],
  ['dense/', 'have a type among dense'],
])('refuses %j', (text, message) => {
  expect(() => parsePatterns(text)).toThrow(message)
})
