import { describe, expect, it } from 'vitest'
import { checkConfig, checkValues, completeTrainOptions, flagName, fromText, toConfig, trainFlags } from './options'

const parse = (text: Record<string, string>) =>
  checkValues(
    trainFlags,
    Object.fromEntries(Object.entries(text).map(([key, value]) => [key, fromText(trainFlags[key as keyof typeof trainFlags], value)])),
    'flag',
  )

describe('values', () => {
  it.each([
    ['context', '0', '--context: expected an integer ≥ 1, got 0'],
    ['context', '1.5', '--context: expected an integer ≥ 1, got 1.5'],
    ['context', 'many', '--context: expected an integer ≥ 1, got "many"'],
    ['context', '', '--context: expected an integer ≥ 1, got ""'],
    ['kvHeads', '-1', '--kv-heads: expected an integer ≥ 1, got -1'],
    ['minutes', '0', '--minutes: expected a number > 0, got 0'],
    ['lr', 'NaN', '--lr: expected a number > 0, got "NaN"'],
    ['lr', 'Infinity', '--lr: expected a number > 0, got null'],
    ['arch', 'bert', '--arch: expected one of gpt2, llama, got "bert"'],
    ['seed', '4294967296', '--seed: expected an integer ≥ 0 and ≤ 4294967295, got 4294967296'],
  ])('refuses --%s %s by name', (key, value, message) => {
    expect(() => parse({ [key]: value })).toThrow(message.replace('got null', 'got'))
  })

  it('reads numbers in every notation', () => {
    expect(parse({ lr: '3e-4', steps: '40' })).toEqual({ lr: 3e-4, steps: 40 })
  })
})

describe('config file', () => {
  it('has the names of the flags', () => {
    const options = completeTrainOptions({ kvHeads: 1, heads: 4, data: ['a.txt'], checkpointActivations: true })
    const config = toConfig(options)
    expect(config).toMatchObject({ 'kv-heads': 1, 'checkpoint-activations': true, data: ['a.txt'] })
    expect(Object.keys(config)).not.toContain('steps')
    expect(completeTrainOptions(checkConfig(trainFlags, JSON.parse(JSON.stringify(config)), 'c.json'))).toEqual(options)
  })

  it.each([
    [{ contxt: 5 }, 'c.json: unknown option "contxt"'],
    [{ kvHeads: 1 }, 'c.json: unknown option "kvHeads"'],
    [{ context: '2048' }, 'c.json: context: expected an integer ≥ 1, got "2048"'],
    [{ 'checkpoint-activations': 1 }, 'c.json: checkpoint-activations: expected true or false, got 1'],
    [{ data: [] }, 'c.json: data: expected a list of file names, got []'],
    [{ steps: null }, 'c.json: steps: expected an integer ≥ 1, got null'],
    [[], 'c.json: expected an object'],
  ])('refuses %j', (config, message) => {
    expect(() => checkConfig(trainFlags, config, 'c.json')).toThrow(message)
  })
})

describe('combinations', () => {
  it.each([
    [{ width: 100, heads: 3 }, '--width must be a multiple of --heads, got 100 and 3'],
    [{ width: 1024, heads: 2 }, 'use at least 4 heads'],
    [{ width: 21, heads: 3 }, 'must be even'],
    [{ arch: 'gpt2', heads: 4, kvHeads: 2, width: 64 }, '--kv-heads'],
    [{ heads: 4, kvHeads: 3, width: 64 }, '--kv-heads must divide --heads, got 3 and 4'],
    [{ pattern: 'window:size=8', attention: 'standard' }, '--pattern needs --attention flash'],
    [{ pattern: 'window' }, '--pattern: GPTConfig: attentionPattern must have size, an integer ≥ 1'],
    [{ pattern: 'dense/dense/dense', layers: 2 }, '--pattern must have at most --layers (2) parts, got 3'],
    [{ positions: 'learned' }, '--positions of llama must be rotary or alibi, got learned'],
    [{ documents: 'separate', attention: 'standard' }, '--documents separate needs --attention flash'],
    [{ attentionDropout: 0.1, attention: 'standard' }, '--attention-dropout needs --attention flash'],
    [{ lr: 1e-3, minLr: 1e-2 }, '--min-lr must be at most --lr'],
    [{ steps: 10, warmup: 10 }, '--warmup must be less than --steps'],
  ])('refuses %j', (given, message) => {
    expect(() => completeTrainOptions(given)).toThrow(message)
  })

  it('accepts every default', () => {
    expect(completeTrainOptions({})).toMatchObject({ context: 2048, tokenizer: 'byte', attention: 'flash', checkpointActivations: false })
  })
})

it('names flags in kebab case', () => {
  expect(Object.keys(trainFlags).map(flagName)).toContain('checkpoint-activations')
})
