import { ArgumentError } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import {
  bigBird,
  butterfly,
  causal,
  createBlockMask,
  dilated,
  document,
  fixed,
  localGlobal,
  type MaskMod,
  prefixLM,
  slidingWindow,
  strided,
} from './index'

const sizes = { seqlenQ: 128, seqlenK: 128 }

describe('bad parameters are refused by name', () => {
  it.each<[message: string, make: () => unknown]>([
    ['causal: offset must be an integer, got 0.5', () => causal({ offset: 0.5 })],
    ['slidingWindow: windowSize[0] must be an integer ≥ -1, got -2', () => slidingWindow([-2, 0])],
    ['slidingWindow: windowSize must be [left, right], got [3]', () => slidingWindow([3] as unknown as [number, number])],
    ['dilated: dilation must be an integer ≥ 1, got 0', () => dilated({ windowSize: [1, 1], dilation: 0 })],
    ['localGlobal: globalTokens must be an integer ≥ 0, got -1', () => localGlobal({ windowSize: [1, 1], globalTokens: -1 })],
    ['localGlobal: globalTokens[…] must be an integer ≥ 0, got NaN', () => localGlobal({ windowSize: [1, 1], globalTokens: [Number.NaN] })],
    ['strided: stride must be an integer ≥ 1, got 0', () => strided({ stride: 0 })],
    ['fixed: summary must be at most stride, 8, got 9', () => fixed({ stride: 8, summary: 9 })],
    ['prefixLM: prefixLength must be an integer ≥ 0, got -1', () => prefixLM({ prefixLength: [3, -1] })],
    ['bigBird: windowBlocks must be odd, got 2', () => bigBird({ seqlenK: 1, windowBlocks: 2 })],
    ['bigBird: seed must be an integer ≥ 0, got -1', () => bigBird({ seqlenK: 1, seed: -1 })],
    ['butterfly: maxStride must be a power of two in 1..2^30, got 3', () => butterfly({ maxStride: 3 })],
    ['document: documentIds must hold integers, got 0.5 at 1', () => document({ documentIds: [0, 0.5] })],
    ['document: cuSeqlens must be integers that ascend from 0, got 3 at 2', () => document({ cuSeqlens: [0, 5, 3] })],
    ['document: cuSeqlens must be integers that ascend from 0, got 1 at 0', () => document({ cuSeqlens: [[0], [1]] })],
    ['document: cuSeqlens must be integers that ascend from 0, got undefined at 0', () => document({ cuSeqlens: [] })],
  ])('%s', (message, make) => {
    expect(make).toThrow(ArgumentError)
    expect(make).toThrow(message)
  })

  it.each<[message: string, mask: MaskMod, batchSize: number]>([
    ['document: documentIds must name 128 tokens or more, got 100', document({ documentIds: new Int32Array(100) }), 1],
    ['document: documents must have an entry for each batch, got 2 for batch 2', document({ cuSeqlens: [[0], [0]] }), 3],
    ['prefixLM: prefixLength must have an entry for each batch, got 1 for batch 1', prefixLM({ prefixLength: [5] }), 2],
  ])('when the mask is made: %s', (message, mask, batchSize) => {
    expect(() => createBlockMask(mask, { ...sizes, batchSize })).toThrow(ArgumentError)
    expect(() => createBlockMask(mask, { ...sizes, batchSize })).toThrow(message)
  })
})
