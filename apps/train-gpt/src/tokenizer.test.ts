import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ByteTokenizer } from '@tilegrad/transformer'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openTokenizer, savedTokenizer } from './tokenizer'

const document = (text: string) => ({ path: 'a.txt', bytes: Buffer.from(text) })
const documents = [document('grün\r\n'), document('blau')]

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tokenizer-'))
})
afterEach(() => rm(folder, { recursive: true }))

const file = () => join(folder, 'tokenizer.json')

/** A byte-level tokenizer.json with one more token. */
async function writeTokenizer(content: string): Promise<void> {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  await writeFile(file(), JSON.stringify({ ...(new ByteTokenizer().toJSON() as object), added_tokens: [{ id: 256, content, ...flags }] }))
}

describe('openTokenizer', () => {
  it('takes bytes as they are', async () => {
    const bytes = await openTokenizer('byte', documents)
    expect(bytes.separator).toBe(0)
    expect(Array.from(bytes.encode(document('grün')))).toEqual([...Buffer.from('grün')])
    expect(Array.from(bytes.encode({ path: 'b', bytes: Buffer.of(0xff, 65) }))).toEqual([0xff, 65])
  })

  it('takes the characters of all documents and U+0000', async () => {
    const chars = await openTokenizer('char', documents)
    expect(chars.tokenizer.decode([chars.separator])).toBe('\0')
    expect(chars.tokenizer.vocabSize).toBe(new Set('\0grün\r\nblau').size)
    expect(chars.tokenizer.decode(chars.encode(document('grün\r\n')))).toBe('grün\r\n')
    await writeFile(file(), JSON.stringify(chars.tokenizer))
    const again = await savedTokenizer(folder)
    expect({ ids: again.encode(documents[0]!), separator: again.separator }).toEqual({ ids: chars.encode(documents[0]!), separator: 0 })
  })

  it('takes the end-of-text token of a tokenizer.json', async () => {
    await writeTokenizer('<|endoftext|>')
    const loaded = await openTokenizer(file(), documents)
    expect(loaded.separator).toBe(256)
    expect(Array.from(loaded.encode(document('grün')))).toEqual([...Buffer.from('grün')])
  })

  it('refuses a tokenizer.json without one, and text that is not UTF-8, by name', async () => {
    await writeTokenizer('<|mask|>')
    await expect(openTokenizer(file(), documents)).rejects.toThrow('--tokenizer: it has no end-of-text token to put between documents')
    const latin1 = { path: 'latin1.txt', bytes: Buffer.from('gr\xfcn', 'latin1') }
    await expect(openTokenizer('char', [latin1])).rejects.toThrow(
      '--data: latin1.txt is not UTF-8 text; convert it, or use --tokenizer byte',
    )
  })
})
