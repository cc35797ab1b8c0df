import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ByteTokenizer } from '@tilegrad/transformer'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Document,
  defaultDataFiles,
  documentOffsets,
  drawBatch,
  packCorpus,
  readDocuments,
  unigramEntropy,
  validationBatches,
} from './data'

const document = (path: string, text: string): Document => ({ path, bytes: Buffer.from(text) })
const bytes = { tokenizer: new ByteTokenizer(), separator: 0, encode: (d: Document) => d.bytes }
const pack = (documents: Document[], context = 4, seed = 1) => packCorpus(documents, bytes, { context, seed })

describe('readDocuments', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'data-'))
  })
  afterEach(() => rm(folder, { recursive: true }))
  const file = async (name: string, content: string | Uint8Array) => {
    await writeFile(join(folder, name), content)
    return join(folder, name)
  }

  it('finds the declaration files of TypeScript', async () => {
    const documents = await readDocuments(await defaultDataFiles())
    expect(documents.length).toBeGreaterThan(50)
    expect(documents.reduce((sum, d) => sum + d.bytes.length, 0)).toBeGreaterThan(2e6)
    expect(documents.map((d) => d.path).join()).toContain('lib.dom.d.ts')
  })

  it('refuses what is no text, by name', async () => {
    const missing = join(folder, 'none.txt')
    await expect(readDocuments([missing])).rejects.toThrow(`--data: cannot read ${missing}: it does not exist`)
    await expect(readDocuments([folder])).rejects.toThrow(`--data: cannot read ${folder}: it is a folder; name the files in it`)
    const empty = await file('empty.txt', '')
    await expect(readDocuments([empty])).rejects.toThrow(`--data: ${empty} is empty`)
    const binary = await file('binary.bin', new Uint8Array([65, 66, 0, 67]))
    await expect(readDocuments([binary])).rejects.toThrow(`--data: ${binary} is binary (byte 0 at offset 2)`)
  })
})

describe('packCorpus', () => {
  const files = Array.from({ length: 40 }, (_, i) => document(`f${i}`, `file number ${i} `.repeat(3)))

  it('splits by file, the same way every time, another way for another seed', () => {
    const corpus = pack(files)
    expect([...corpus.trainFiles, ...corpus.validationFiles].sort()).toEqual(files.map((f) => f.path).sort())
    expect(corpus.validationFiles).toHaveLength(2)
    expect(pack([...files].reverse()).validationFiles).toEqual(corpus.validationFiles)
    expect(pack(files, 4, 2).validationFiles).not.toEqual(corpus.validationFiles)
    expect(pack(files).sha256).toBe(corpus.sha256)
    expect(pack([...files.slice(1), document('f0', 'changed')]).sha256).not.toBe(corpus.sha256)
  })

  it('puts every byte of every document into one part, with a separator after each document', () => {
    const { train, validation, trainFiles, validationFiles } = pack(files)
    const text = (names: readonly string[]) => names.map((name) => `${files.find((f) => f.path === name)?.bytes}\0`).join('')
    expect(Buffer.from(train).toString()).toBe(text(trainFiles))
    expect(Buffer.from(validation).toString()).toBe(text(validationFiles))
  })

  it('keeps the tail of a single file, between characters', () => {
    const { train, validation } = pack([document('a', 'ä'.repeat(55))])
    expect(Buffer.from(train).toString()).toBe(`${'ä'.repeat(50)}\0`)
    expect(Buffer.from(validation).toString()).toBe(`${'ä'.repeat(5)}\0`)
  })

  it('refuses data shorter than a sequence', () => {
    expect(() => pack([document('a', 'too short')], 64)).toThrow(
      /the training part has \d+ tokens, fewer than one sequence of --context 64/,
    )
    expect(() => pack([document('a', 'x'.repeat(200))], 64)).toThrow(/the validation part has 21 tokens/)
  })
})

describe('drawBatch', () => {
  const tokens = Int32Array.from({ length: 1000 }, (_, i) => i)
  const draw = (step: number, rows = [0, 1], seed = 5) => drawBatch(tokens, { seed, step, rows, context: 16 })

  it('draws whole sequences and the tokens after them', () => {
    for (let step = 1; step < 300; step++) {
      const { inputs, targets } = draw(step)
      expect(inputs).toHaveLength(32)
      for (let i = 0; i < 32; i++) {
        expect(targets[i]).toBe(inputs[i]! + 1)
        if (i % 16 > 0) expect(inputs[i]).toBe(inputs[i - 1]! + 1)
      }
    }
  })

  it('depends on seed, step and row, and on nothing else', () => {
    expect(draw(7)).toEqual(draw(7))
    expect(draw(7, [1]).inputs).toEqual(draw(7, [0, 1]).inputs.subarray(16))
    expect(draw(7).inputs).not.toEqual(draw(8).inputs)
    expect(draw(7).inputs).not.toEqual(draw(7, [0, 1], 6).inputs)
  })

  it('reaches the first and the last place', () => {
    const starts = new Set<number>()
    for (let step = 0; step < 200; step++)
      starts.add(drawBatch(tokens.subarray(0, 20), { seed: 1, step, rows: [0], context: 16 }).inputs[0]!)
    expect([...starts].sort()).toEqual([0, 1, 2, 3])
  })
})

it('documents begin at rows and separators', () => {
  const inputs = Int32Array.of(5, 0, 7, 8, 0, 6, 0, 0)
  expect([...documentOffsets(inputs, 0, 4)]).toEqual([0, 1, 4, 6, 7, 8])
  expect([...documentOffsets(inputs.subarray(0, 4), 9, 4)]).toEqual([0, 4])
})

describe('validationBatches', () => {
  it('spreads rows from the first to the last token, without overlap where there is room', () => {
    const tokens = Int32Array.from({ length: 1001 }, (_, i) => i)
    const batches = validationBatches(tokens, { batches: 4, rows: 2, context: 100 })
    const starts = batches.flatMap(({ inputs }) => [inputs[0]!, inputs[100]!])
    expect(starts[0]).toBe(0)
    expect(batches.at(-1)?.targets.at(-1)).toBe(1000)
    for (let i = 1; i < starts.length; i++) expect(starts[i]! - starts[i - 1]!).toBeGreaterThanOrEqual(100)
  })

  it('is smaller where the data is', () => {
    const tokens = Int32Array.from({ length: 25 }, (_, i) => i)
    const batches = validationBatches(tokens, { batches: 4, rows: 2, context: 10 })
    expect(batches.map(({ inputs }) => inputs.length)).toEqual([20])
    expect(validationBatches(tokens, { batches: 4, rows: 2, context: 24 }).map((b) => b.inputs.length)).toEqual([24])
  })
})

it('unigramEntropy is ln n of n equally frequent tokens', () => {
  expect(unigramEntropy(Int32Array.from({ length: 800 }, (_, i) => i % 8))).toBeCloseTo(Math.log(8), 12)
  expect(unigramEntropy(Int32Array.of(3, 3, 3, 9))).toBeCloseTo(-(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25)), 12)
})
