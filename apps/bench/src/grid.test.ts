import { describe, expect, it } from 'vitest'
import { attentionGrid, defaultAttention, defaultGemm, gemmGrid, memoryGrid, trainingGrid } from './grid'
import type { Planned } from './plan'

const flags = { backend: undefined, threads: [1, 2], samples: 5, quick: false, cacheFolder: '' }
const names = (rows: readonly Planned[]) =>
  rows.map(({ subject: { benchmark, name, contender, threads } }) => `${benchmark}: ${name}, ${contender} ${threads}`)

describe('the default grid', () => {
  const attention = names(attentionGrid({ ...flags, ...defaultAttention }))
  const all = [
    ...attention,
    ...names([...gemmGrid({ ...flags, ...defaultGemm }), ...memoryGrid({ ...flags, seqlen: undefined }), ...trainingGrid(flags, true)]),
  ]

  it('has what the documents promise', () => {
    expect(attention).toContain('attention: forward+backward N 8192 H 8 D 128 causal, native 1')
    expect(attention).toContain('attention: forward N 8192 H 8 D 128 full, ort-node-mha 2')
    expect(attention).toContain('attention: forward N 8192 H 1 D 64 full, native 2')
    expect(attention).toContain('small: forward N 16 H 64 D 64 full, standard-native 2')
    expect(attention).toContain('decoding: forward Sq 1 Sk 65536 H 8/2 D 64 full, native 2')
    expect(all).toContain('gemm: square 1024×1024×1024, openblas 1')
    expect(all).toContain('memory: forward+backward N 131072 H 1 D 64 causal, native 2')
    expect(all).toContain('memory: forward N 16384 H 1 D 64 full, standard-native 2')
    expect(all).toContain('train: gpt2 T 1×2048 d 384 L 6 V 256 flash, native 2')
  })

  it('has no row twice, and no slow contender where a sample takes seconds', () => {
    expect(new Set(all).size).toBe(all.length)
    expect(attention.filter((name) => /N (4096|8192) .*(wasm|web|jax|tfjs|standard)/.test(name))).toEqual([])
  })

  it('is smaller when quick', () => {
    const quick = { ...flags, threads: undefined, quick: true }
    const rows = [
      ...attentionGrid({ ...quick, ...defaultAttention }),
      ...gemmGrid({ ...quick, ...defaultGemm }),
      ...memoryGrid({ ...quick, seqlen: undefined }),
    ]
    expect(rows.length).toBeLessThan(all.length / 3)
    expect(new Set(names(rows)).size).toBe(rows.length)
  })
})

it('is filtered by contender, an instruction set included', () => {
  const backend = ['native:avx2', 'ort-node-mha', 'openblas'] as const
  const filtered = { ...flags, backend }
  const contenders = (rows: readonly Planned[]) => new Set(rows.map(({ subject }) => subject.contender))
  expect(contenders(attentionGrid({ ...filtered, ...defaultAttention }))).toEqual(new Set(['native:avx2', 'ort-node-mha']))
  expect(contenders(gemmGrid({ ...filtered, ...defaultGemm }))).toEqual(new Set(['native:avx2', 'openblas']))
  expect(contenders(trainingGrid(filtered, false))).toEqual(new Set(['native:avx2']))
})

it('runs the sequence lengths that it is given, and nothing else, with every contender', () => {
  const rows = attentionGrid({ ...flags, ...defaultAttention, seqlen: [300], headDim: [64], threads: [1] })
  expect(new Set(rows.map(({ subject }) => subject.parameters.seqlenQ))).toEqual(new Set([300]))
  expect(rows.some(({ subject }) => subject.contender === 'tfjs')).toBe(true)
})

it('compares memory at the sequence lengths that it is given, and runs flash alone where they are long', () => {
  const rows = memoryGrid({ ...flags, threads: [2], seqlen: [300, 131072] })
  expect(names(rows)).toEqual([
    'memory: forward N 300 H 1 D 64 full, native 2',
    'memory: forward N 300 H 1 D 64 full, standard-native 2',
    'memory: forward+backward N 300 H 1 D 64 full, native 2',
    'memory: forward+backward N 300 H 1 D 64 full, standard-native 2',
    'memory: forward+backward N 131072 H 1 D 64 causal, native 2',
  ])
})
