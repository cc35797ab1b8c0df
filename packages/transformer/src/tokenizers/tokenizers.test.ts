import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Tokenizer as HuggingFace } from '@huggingface/tokenizers'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { byteAlphabet } from './byte-alphabet'
import { ByteTokenizer } from './byte-tokenizer'
import { CharTokenizer } from './char-tokenizer'
import { HuggingFaceTokenizer } from './hugging-face-tokenizer'
import { loadTokenizer } from './load-tokenizer'

/** Any text without lone surrogates, which no encoding holds. */
const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 30 })
const throughHuggingFace = (json: unknown) => new HuggingFace(JSON.parse(JSON.stringify(json)), {})

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tokenizer-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function reload(json: unknown) {
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(json))
  return loadTokenizer(folder)
}

test("the byte alphabet is GPT-2's", () => {
  expect(new Set(byteAlphabet).size).toBe(256)
  expect(['A', ' ', '\n', '\xad', '\u00a1'].map((c) => byteAlphabet[c.charCodeAt(0)])).toEqual(['A', 'Ġ', 'Ċ', 'Ń', '¡'])
})

describe('ByteTokenizer', () => {
  const tokenizer = new ByteTokenizer()

  test('gives the UTF-8 bytes and takes them back', () => {
    expect([...tokenizer.encode('aé€')]).toEqual([97, 0xc3, 0xa9, 0xe2, 0x82, 0xac])
    expect(tokenizer.encode('')).toHaveLength(0)
    expect(tokenizer.decode([0xc3])).toBe('\ufffd')
    fc.assert(fc.property(text, (t) => tokenizer.decode(tokenizer.encode(t)) === t))
    expect(tokenizer.decode(tokenizer.encode('\ufeffx'))).toBe('\ufeffx')
  })

  test('its tokenizer.json means the same to Hugging Face', () => {
    const other = throughHuggingFace(tokenizer.toJSON())
    fc.assert(
      fc.property(text, (t) => {
        expect(other.encode(t).ids).toEqual([...tokenizer.encode(t)])
        expect(other.decode(other.encode(t).ids, { clean_up_tokenization_spaces: false })).toBe(t)
      }),
    )
  })

  test('is itself again when it is loaded', async () => {
    expect(await reload(tokenizer)).toBeInstanceOf(ByteTokenizer)
  })

  test('refuses what is no byte', () => {
    expect(() => tokenizer.decode([1, 256])).toThrow('ByteTokenizer.decode: ids must be in 0..255, got 256 at index 1')
  })
})

describe('CharTokenizer', () => {
  const tokenizer = CharTokenizer.fromText('hello\n1 wörld 😀')

  test('numbers code points in order', () => {
    expect(tokenizer.characters.join('')).toBe('\n 1dehlorwö😀')
    expect([...tokenizer.encode('😀he')]).toEqual([11, 5, 4])
    expect(tokenizer.decode(tokenizer.encode('hello 😀'))).toBe('hello 😀')
    fc.assert(fc.property(text, (t) => CharTokenizer.fromText(t).decode(CharTokenizer.fromText(t).encode(t)) === t))
  })

  test('its tokenizer.json means the same to Hugging Face', () => {
    fc.assert(
      fc.property(text, (t) => {
        const own = CharTokenizer.fromText(t)
        const other = throughHuggingFace(own.toJSON())
        expect(other.encode(t).ids).toEqual([...own.encode(t)])
        expect(other.decode(other.encode(t).ids, { clean_up_tokenization_spaces: false })).toBe(t)
      }),
    )
  })

  test('is itself again when it is loaded', async () => {
    const again = await reload(tokenizer)
    expect(again).toBeInstanceOf(CharTokenizer)
    expect((again as CharTokenizer).characters).toEqual(tokenizer.characters)
  })

  test('refuses what it does not know', () => {
    expect(() => tokenizer.encode('hexz')).toThrow('CharTokenizer.encode: "x" (character 2) is not among its 12 characters')
    expect(() => tokenizer.decode([0, 12])).toThrow('CharTokenizer.decode: ids must be in 0..11, got 12 at index 1')
    expect(() => new CharTokenizer(['a', 'a'])).toThrow('characters must be distinct and single, got "a"')
    expect(() => new CharTokenizer(['ab'])).toThrow('characters must be distinct and single, got "ab"')
    expect(() => CharTokenizer.fromText('')).toThrow('characters must not be empty')
  })
})

describe('any tokenizer.json', () => {
  /** A byte-level BPE in the manner of GPT-2's, with three merges and a token around texts. */
  const merged = ['h', 'e', 'l', 'o', 'Ġ', 'he', 'll', 'hell']
  const json = {
    ...(new ByteTokenizer().toJSON() as object),
    added_tokens: [{ id: 8, content: '<s>', special: true, single_word: false, lstrip: false, rstrip: false, normalized: false }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [8], tokens: ['<s>'] } },
    },
    model: { type: 'BPE', vocab: Object.fromEntries(merged.map((t, i) => [t, i])), merges: ['h e', 'l l', 'he ll'] },
  }

  test('is read with its merges and special tokens', async () => {
    const tokenizer = await reload(json)
    expect(tokenizer).toBeInstanceOf(HuggingFaceTokenizer)
    expect(tokenizer.vocabSize).toBe(9)
    expect([...tokenizer.encode('hello hell')]).toEqual([7, 3, 4, 7])
    expect([...tokenizer.encode('hello', { specialTokens: true })]).toEqual([8, 7, 3])
    expect([...tokenizer.encode('<s>he')]).toEqual([8, 5])
    expect(tokenizer.decode([7, 3, 4, 7, 8])).toBe('hello hell<s>')
    expect(tokenizer.decode([])).toBe('')
    expect(tokenizer.encode('')).toHaveLength(0)
    expect(await reload(tokenizer)).toBeInstanceOf(HuggingFaceTokenizer)
  })

  test('refuses text and ids outside its vocabulary', async () => {
    const tokenizer = await reload(json)
    const words = new HuggingFaceTokenizer({
      ...(json as object),
      added_tokens: [],
      post_processor: null,
      pre_tokenizer: { type: 'Whitespace' },
      model: { type: 'WordPiece', vocab: { a: 0 }, unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100 },
    })
    expect([...words.encode('a a')]).toEqual([0, 0])
    expect(() => words.encode('a b')).toThrow('HuggingFaceTokenizer.encode: "[UNK]" is not in its vocabulary')
    expect(() => tokenizer.decode([3, 9])).toThrow('HuggingFaceTokenizer.decode: ids must be in 0..8, got 9 at index 1')
  })

  test.each([
    ['[]', 'tokenizer.json: must be a JSON object'],
    ['{', 'tokenizer.json: is not JSON'],
    ['{}', 'HuggingFaceTokenizer: tokenizer.json is not usable'],
    ['{"model":{"vocab":null}}', 'HuggingFaceTokenizer: tokenizer.json is not usable'],
  ])('refuses %s', async (content, message) => {
    await writeFile(join(folder, 'tokenizer.json'), content)
    await expect(loadTokenizer(folder)).rejects.toThrow(message)
    await expect(loadTokenizer(folder)).rejects.toMatchObject({ name: 'TokenizerError' })
  })

  test('refuses a file that is not there', async () => {
    await expect(loadTokenizer(join(folder, 'none.json'))).rejects.toThrow('none.json: no such file')
  })
})
