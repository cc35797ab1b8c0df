import { UnsupportedError } from '@tilegrad/tensor'
import { expect, test } from 'vitest'
import type { ConformanceCase } from './conformance-case'
import { expectError } from './expect-error'
import { withLacks } from './lacks'

const unsupported = () => Promise.reject(new UnsupportedError('cpu', 'attentionForward', 'bias'))
const wrong = () => Promise.reject(new Error('out: error 1 exceeds 0'))
const refused = async () =>
  expectError('ShapeError', () => {
    throw new UnsupportedError('cpu', 'attentionForward', 'sink')
  })
const right = () => Promise.resolve()
const of = (group: string, ...runs: (() => Promise<void>)[]): ConformanceCase[] => runs.map((run, i) => ({ group, name: `${i}`, run }))

/** Whether each case passes, in order. */
async function outcomes(cases: readonly ConformanceCase[]): Promise<string[]> {
  const results: string[] = []
  for (const { group, name, run } of cases) {
    const error = await run(undefined as never, undefined as never).then(
      () => undefined,
      (reason: Error) => reason.message,
    )
    results.push(`${group} ${name}: ${error ?? 'passes'}`)
  }
  return results
}

test('without lacks nothing is excused', async () => {
  expect(await outcomes(withLacks(of('bias', unsupported, right), []))).toEqual([
    "bias 0: cpu: no kernel 'attentionForward' for bias",
    'bias 1: passes',
  ])
})

test('in a group that is lacking, only a refusal by name is excused', async () => {
  const cases = [...of('bias', unsupported, wrong, right), ...of('sink', unsupported)]
  expect(await outcomes(withLacks(cases, ['bias']))).toEqual([
    'bias 0: passes',
    'bias 1: out: error 1 exceeds 0',
    'bias 2: passes',
    "sink 0: cpu: no kernel 'attentionForward' for bias",
    'bias is still refused by name: passes',
  ])
})

test('a group that is lacking no more must go from the list', async () => {
  expect(await outcomes(withLacks(of('bias', right, right), ['bias']))).toEqual([
    'bias 0: passes',
    'bias 1: passes',
    "bias is still refused by name: every case of 'bias' passes: take it out of lacks",
  ])
})

test('dtypes belong to their group', async () => {
  const cases = [...of('bias f32', right), ...of('bias f16', unsupported)]
  expect(await outcomes(withLacks(cases, ['bias']))).toEqual([
    'bias f32 0: passes',
    'bias f16 0: passes',
    'bias is still refused by name: passes',
  ])
})

test('a group that does not exist is refused', () => {
  expect(() => withLacks(of('bias', right), ['biases'])).toThrow("lacks must name groups of cases, among bias, got 'biases'")
})

test('a refusal by name is excused where another error was expected', async () => {
  expect(await outcomes(withLacks(of('sink', refused), ['sink']))).toEqual(['sink 0: passes', 'sink is still refused by name: passes'])
  expect(await outcomes(withLacks(of('sink', refused), []))).toEqual([
    expect.stringMatching(/^sink 0: expected ShapeError from .*, got UnsupportedError/s),
  ])
})
