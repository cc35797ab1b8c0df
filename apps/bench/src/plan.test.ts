import { expect, it } from 'vitest'
import { attentionContenders, planAttention, planDecoding, planGemm, planOverhead, productContenders } from './plan'

const filters = {
  threads: [1, 2],
  samples: 5,
  cacheFolder: '',
  contenders: attentionContenders,
  seqlens: [512],
  headDims: [64],
  causal: [true, false],
  passes: ['forward', 'forward+backward'] as const,
  nHeads: 8,
}
const rows = planAttention('attention', filters)
const contendersOf = (name: string, threads: number) =>
  rows.flatMap(({ subject }) => (subject.name === name && subject.threads === threads ? [subject.contender] : []))

it('lets every contender take part where it can', () => {
  expect(contendersOf('forward N 512 H 8 D 64 causal', 1)).toEqual(attentionContenders)
  expect(contendersOf('forward N 512 H 8 D 64 full', 1)).not.toContain('ort-node-gqa')
  expect(contendersOf('forward+backward N 512 H 8 D 64 full', 2)).toEqual(['native', 'standard-native', 'wasm', 'standard-wasm', 'jax-js'])
  const decoding = planDecoding(filters, 4096, [8, 2]).map(({ subject }) => `${subject.contender} ${subject.parameters.nHeadsK}`)
  expect(new Set(decoding)).toEqual(new Set(['native 8', 'wasm 8', 'ort-node-mha 8', 'ort-web-mha 8', 'native 2', 'wasm 2']))
})

it('names what was chosen, so that no two rows are called the same', () => {
  const all = [...rows, ...planDecoding(filters, 4096, [8, 2]), ...planOverhead(filters)]
  const sizes = { dModel: 384, context: 2048, vocabSize: 8192 }
  const products = planGemm({ ...filters, ...sizes, contenders: productContenders, filter: '' })
  const keys = [...all, ...products].map(
    ({ subject: { benchmark, name, contender, threads } }) => `${benchmark} ${name} ${contender} ${threads}`,
  )
  expect(new Set(keys).size).toBe(keys.length)
  expect(keys).toContain('decoding forward Sq 1 Sk 4096 H 8/2 D 64 full native 2')
  expect(keys).toContain('overhead forward N 16 H 1 D 16 full, enqueued native 1')
  expect(keys).toContain('gemm fc + bias + GELU 2048×1536×384 wasm 1')
})

it('knows what does not fit into memory', () => {
  const large = planAttention('memory', { ...filters, seqlens: [2 ** 18], causal: [false] })
  const impossible = (contender: string) => large.find(({ subject }) => subject.contender === contender)?.impossible
  expect(impossible('standard-native')).toContain('2048 GiB')
  expect(impossible('native')).toBeNull()
})
