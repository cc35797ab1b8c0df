import { ByteTokenizer } from '@tilegrad/transformer'
import { expect, it } from 'vitest'
import { TextStream } from './sample'

it('hands out every character once, also those of several tokens', () => {
  const text = `${'größe 漢字 😀 '.repeat(20)}end`
  const tokenizer = new ByteTokenizer()
  const stream = new TextStream(tokenizer)
  const pieces = Array.from(tokenizer.encode(text), (token) => stream.push(token))
  expect([...pieces, stream.end()].join('')).toBe(text)
  expect(pieces.join('')).not.toContain('\ufffd')
})

it('shows at the end what never became a character', () => {
  const stream = new TextStream(new ByteTokenizer())
  expect([stream.push(65), stream.push(0xe6), stream.push(0xbc), stream.end()]).toEqual(['A', '', '', '\ufffd'])
})

it('goes on after bytes that are no text', () => {
  const stream = new TextStream(new ByteTokenizer())
  const tokens = [0xff, 0xfe, ...Array.from({ length: 200 }, () => 0x80), ...Buffer.from('then text')]
  const pieces = tokens.map((token) => stream.push(token))
  expect([...pieces, stream.end()].join('')).toMatch(/^\ufffd{202}then text$/)
})
