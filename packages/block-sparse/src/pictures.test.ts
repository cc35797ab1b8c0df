import { ArgumentError, type BlockMask } from '@tilegrad/tensor'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { anyMask } from './families.testing'
import {
  and,
  bigBird,
  blockLists,
  blockMaskToSvg,
  butterfly,
  causal,
  createBlockMask,
  dilated,
  document,
  fixed,
  formatBlockMask,
  localGlobal,
  type MaskMod,
  prefixLM,
  slidingWindow,
  strided,
} from './index'

/** Full 'F', partial 'P' or absent '.', for cells of k × k tiles, from the lists of a mask. */
function cellsOf(mask: BlockMask, k: number, b = 0, h = 0): string[] {
  const lists = blockLists(mask)[b]?.[h] ?? []
  const nNBlocks = Math.ceil(mask.seqlenK / mask.blockN)
  const tiles = lists.map(({ full, partial }) =>
    Array.from({ length: nNBlocks }, (_, n) => (full.includes(n) ? 'F' : partial.includes(n) ? 'P' : '.')),
  )
  const range = (length: number) => Array.from({ length: Math.ceil(length / k) }, (_, i) => i * k)
  return range(tiles.length).map((m) =>
    range(nNBlocks)
      .map((n) => {
        const kinds = new Set(tiles.slice(m, m + k).flatMap((row) => row.slice(n, n + k)))
        return kinds.size === 1 ? [...kinds].join() : 'P'
      })
      .join(''),
  )
}

/** The cells of an SVG picture, from its rectangles. Every element must be closed, and nothing may overlap. */
function readSvg(svg: string): string[] {
  const open: string[] = []
  const text = svg.replace(/<(\/?)([a-z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/gi, (_all, closing, name, _attributes, empty) => {
    if (closing) expect(open.pop()).toBe(name)
    else if (!empty) open.push(name)
    return ''
  })
  expect(open).toEqual([])
  expect(text).not.toMatch(/[<>]|&(?!(amp|lt|gt|quot);)/)
  const scale = Number(svg.match(/scale\((\d+)\)/)?.[1])
  const [width, height] = [...(svg.match(/<rect [^>]*width="(\d+)" height="(\d+)"/) ?? [])]
    .slice(1)
    .map((side) => (Number(side) - 1) / scale)
  const cells = Array.from({ length: height ?? 0 }, () => Array.from({ length: width ?? 0 }, () => '.'))
  for (const [, kind, path] of svg.matchAll(/<path class="(full|partial)"[^>]* d="([^"]*)"/g)) {
    expect(path?.replace(/M\d+ \d+h\d+v1H\d+z/g, '')).toBe('')
    for (const [, x, y, run] of path?.matchAll(/M(\d+) (\d+)h(\d+)/g) ?? []) {
      for (let n = 0; n < Number(run); n++) {
        const row = cells[Number(y)] as string[]
        expect(row[Number(x) + n]).toBe('.')
        row[Number(x) + n] = kind === 'full' ? 'F' : 'P'
      }
    }
  }
  return cells.map((row) => row.join(''))
}

const readText = (text: string) =>
  text
    .split('\n')
    .slice(1)
    .map((line) => line.replaceAll('██', 'F').replaceAll('▒▒', 'P').replaceAll('··', '.'))

describe('pictures', () => {
  it('show the tiles, printed and as SVG', () => {
    fc.assert(
      fc.property(anyMask, fc.nat(1), fc.nat(2), (maskMod, b, h) => {
        const mask = createBlockMask(maskMod, { batchSize: 2, nHeads: 3, seqlenQ: 96, seqlenK: 90, blockM: 64, blockN: 64 })
        expect(readText(formatBlockMask(mask, { b, h }))).toEqual(cellsOf(mask, 1, b, h))
        expect(readSvg(blockMaskToSvg(mask, { b, h }))).toEqual(cellsOf(mask, 1, b, h))
      }),
      { numRuns: 50 },
    )
  })

  it.each([1, 2, 3, 5])('draw cells of %d tiles where there are many, ragged ones at the ends', (k) => {
    const mask = createBlockMask(slidingWindow([700, 130], { offset: 300 }), { seqlenQ: 1000, seqlenK: 1500, blockM: 64, blockN: 64 })
    const maxCells = Math.ceil(24 / k)
    expect(readText(formatBlockMask(mask, { maxCells }))).toEqual(cellsOf(mask, k))
    expect(readSvg(blockMaskToSvg(mask, { maxCells }))).toEqual(cellsOf(mask, k))
  })

  it('print as one would draw them', () => {
    const mask = createBlockMask(causal(), { seqlenQ: 512, seqlenK: 512 })
    expect(formatBlockMask(mask)).toMatchInlineSnapshot(`
      "[1, 1, 512, 512], tiles 128×128, visits 62.5 % of the tiles, sees 50.1 % of the pairs
      ▒▒······
      ██▒▒····
      ████▒▒··
      ██████▒▒"
    `)
    expect(formatBlockMask(mask, { maxCells: 2 })).toMatchInlineSnapshot(`
      "[1, 1, 512, 512], tiles 128×128, visits 62.5 % of the tiles, sees 50.1 % of the pairs; a cell shows 2×2 tiles
      ▒▒··
      ██▒▒"
    `)
  })

  it('stay small at 65,536 tokens', () => {
    const mask = createBlockMask(strided({ stride: 256 }), { seqlenQ: 65_536, seqlenK: 65_536 })
    expect(formatBlockMask(mask).split('\n')).toHaveLength(33)
    expect(readSvg(blockMaskToSvg(mask))).toHaveLength(128)
    expect(blockMaskToSvg(mask, { maxCells: 32 }).length).toBeLessThan(4000)
  })

  it('draw masks without tiles', () => {
    const mask = createBlockMask(causal(), { seqlenQ: 0, seqlenK: 0 })
    expect(formatBlockMask(mask).split('\n')).toHaveLength(1)
    expect(readSvg(blockMaskToSvg(mask))).toEqual([])
  })

  it('escape their title, and refuse heads that are not there', () => {
    const mask = createBlockMask(causal(), { seqlenQ: 64, seqlenK: 64, nHeads: 2 })
    expect(blockMaskToSvg(mask, { title: 'a < b & "c"' })).toContain('<title>a &lt; b &amp; &quot;c&quot;</title>')
    expect(() => blockMaskToSvg(mask, { h: 2 })).toThrow(ArgumentError)
    expect(() => formatBlockMask(mask, { b: -1 })).toThrow('formatBlockMask: b must be in 0..0, got -1')
    expect(() => formatBlockMask(mask, { maxCells: 0 })).toThrow('maxCells')
  })
})

/** The pictures of the README: `npm run pictures` writes them anew. */
describe('docs', () => {
  const [seqlenQ, seqlenK] = [4096, 4096]
  const drawn: [name: string, mask: MaskMod][] = [
    ['causal', causal()],
    ['sliding-window', slidingWindow([700, 0])],
    ['dilated', dilated({ windowSize: [-1, 0], dilation: 256 })],
    ['local-global', localGlobal({ windowSize: [256, 256], globalTokens: [0, 1, 1500] })],
    ['big-bird', bigBird({ seqlenK })],
    ['strided', strided({ stride: 512 })],
    ['fixed', fixed({ stride: 512, summary: 64 })],
    ['prefix-lm', prefixLM({ prefixLength: 1000 })],
    ['document', and(causal(), document({ cuSeqlens: [0, 700, 1800, 1900, 3000, 4096] }))],
    ['butterfly', butterfly({ blockSize: 64 })],
  ]
  it.each(drawn)('%s.svg is up to date', async (name, mask) => {
    const svg = blockMaskToSvg(createBlockMask(mask, { seqlenQ, seqlenK, blockM: 64, blockN: 64 }), { size: 192, title: name })
    await expect(svg).toMatchFileSnapshot(`../docs/${name}.svg`)
  })
})
