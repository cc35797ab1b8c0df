import { expect, it } from 'vitest'
import { attentionContenders, planAttention } from './plan'

const filters = {
  threads: [1, 2],
  samples: 5,
  cacheFolder: '',
  contenders: attentionContenders,
  seqlens: [512],
  headDims: [64],
  causal: [true, false],
  passes: ['forward', 'forward+backward'] as const,
  batchSize: 1,
  nHeads: 8,
}
const rows = planAttention('attention', filters)
const contendersOf = (name: string, threads: number) =>
  rows.flatMap(({ subject }) => (subject.name === name && subject.threads === threads ? [subject.contender] : []))

it('lets every contender take part where it can', () => {
  expect(contendersOf('forward N 512 D 64 causal', 1)).toEqual(attentionContenders)
  expect(contendersOf('forward N 512 D 64 full', 1)).not.toContain('ort-node-gqa')
  expect(contendersOf('forward+backward N 512 D 64 full', 1)).toEqual(['native', 'standard-native', 'wasm', 'standard-wasm', 'jax-js'])
  expect(contendersOf('forward N 512 D 64 causal', 2)).not.toContain('jax-js')
})

it('knows what does not fit into memory', () => {
  const large = planAttention('memory', { ...filters, seqlens: [2 ** 18], causal: [false] })
  const impossible = (contender: string) => large.find(({ subject }) => subject.contender === contender)?.impossible
  expect(impossible('standard-native')).toContain('2048 GiB')
  expect(impossible('native')).toBeNull()
})
