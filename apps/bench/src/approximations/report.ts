import { groups, milliseconds, table, threadsOf } from '../report/markdown'
import { tensorBytes } from '../report/memory'
import { mebibytes, percent, type Row } from '../results'
import { paperForwardBackward, paperMemory, paperValue } from '../sparsity/paper'
import { figureLines } from './plan'

/** The figure, its numbers, and the same as multiples of flash beside those of the paper. */
export function figureSection(rows: readonly Row[]): string[] {
  const [first] = rows
  if (!first) return []
  const { nHeads, headDim } = first.parameters
  const lines = linesOf(rows)
  return [
    '## Runtime and memory over N',
    `FlashAttention's figure 3 (arXiv 2205.14135) from measurements here: forward and backward pass, ${nHeads} head of ${headDim}, float32. All but standard attention run on the
tiled kernels. Linformer (arXiv 2006.04768) projects to 256 keys, Longformer (arXiv 2004.05150) has a window of 512 and one global token, BigBird (arXiv 2007.14062) blocks of 64, of which 3 in the window, 2 global and 3 random,
and block-sparse flash the butterfly of blocks of 128, as in the paper. Memory is the peak of tensors, inputs, projections and masks included.`,
    '![Runtime and memory over N, forward and backward](plots/figure.svg)',
    ...groups(rows, ({ threads }) => threadsOf(threads)).flatMap(([title, of]) => [
      `**ms, ${title}**`,
      overN(of, lines, timeOf),
      ...reasons(of),
      `**MiB, ${title}**`,
      overN(of, lines, memoryOf),
      `**Time over that of flash, ${title} / the paper's**`,
      overN(of, lines.filter(notFlash), (row) => ratios(row, flashOf(row, of), secondsOf, paperForwardBackward)),
      `**Memory over that of flash, ${title} / the paper's**`,
      overN(of, lines.filter(notFlash), (row) => ratios(row, flashOf(row, of), tensorBytes, paperMemory)),
    ]),
  ]
}

export function linesOf(rows: readonly Row[]): string[] {
  return figureLines.filter((line) => rows.some(({ contender }) => contender === line))
}

function overN(rows: readonly Row[], lines: readonly string[], cell: (row: Row) => string): string {
  const cells = groups(rows, ({ parameters }) => String(parameters.seqlenQ)).map(([seqlen, of]) => [
    seqlen,
    ...lines.map((line) => {
      const row = of.find(({ contender }) => contender === line)
      return row ? cell(row) : ''
    }),
  ])
  return table(['N', ...lines], cells)
}

function timeOf(row: Row): string {
  return milliseconds(row) || 'no time'
}

function memoryOf(row: Row): string {
  const bytes = tensorBytes(row)
  return bytes === null ? '' : mebibytes(bytes)
}

function reasons(rows: readonly Row[]): string[] {
  return rows
    .filter(({ timing }) => timing === null)
    .map(({ contender, parameters, rejected }) => `${contender}, N ${parameters.seqlenQ}: no time, ${rejected}`)
}

function notFlash(line: string): boolean {
  return line !== 'flash'
}

function flashOf(row: Row, rows: readonly Row[]): Row | undefined {
  return rows.find(({ contender, name }) => contender === 'flash' && name === row.name)
}

function secondsOf(row: Row): number | null {
  return row.timing?.median ?? null
}

function ratios(
  row: Row,
  flash: Row | undefined,
  value: (row: Row) => number | null,
  paper: Readonly<Record<string, readonly number[]>>,
): string {
  const [ours, ofFlash] = [value(row), flash ? value(flash) : null]
  const seqlen = Number(row.parameters.seqlenQ)
  const [theirs, theirFlash] = [paperValue(paper, row.contender, seqlen), paperValue(paper, 'flash', seqlen)]
  const shown = [
    ours === null || ofFlash === null ? '' : (ours / ofFlash).toPrecision(2),
    theirs === undefined || theirFlash === undefined ? '' : (theirs / theirFlash).toPrecision(2),
  ]
  return shown.some(Boolean) ? shown.map((text) => text || '–').join(' / ') : ''
}

/** Tokens per second and error of Keyformer's cache beside the exact one. */
export function keyformerSection(rows: readonly Row[]): string[] {
  const lines = groups(rows, ({ parameters, threads }) => `${parameters.seqlen}, ${threadsOf(threads)}`).flatMap(([prompt, of]) => {
    const exact = of.find(({ contender }) => contender === 'exact')
    return groups(of, ({ parameters }) => String(parameters.cacheShare)).map(([share, same]) => {
      const timed = same.filter(({ timing }) => timing !== null)
      const seconds = Math.min(...timed.map((row) => secondsOf(row) as number))
      const exactSeconds = exact ? secondsOf(exact) : null
      const error = (correlated: boolean) => {
        const row = same.find(({ parameters }) => Number(parameters.correlation) > 0 === correlated)
        return row?.relativeError === undefined || row.contender === 'exact' ? '' : percent(row.relativeError)
      }
      const none = timed.length === 0
      return [
        prompt,
        share === '1' ? 'all' : `1/${1 / Number(share)}`,
        none ? `no time: ${same[0]?.rejected}` : (1 / seconds).toFixed(0),
        none || exactSeconds === null ? '' : `${(exactSeconds / seconds).toFixed(2)} ×`,
        error(false),
        error(true),
      ]
    })
  })
  if (lines.length === 0) return []
  const independent = 'error, independent queries'
  return [
    '## Decoding with Keyformer',
    `Keyformer (arXiv 2403.09054) keeps a share of the prompt's keys and values, the latest quarter of it and those whose noisy score is highest, head by head. One layer, 8 heads of 64, a token after the other,
scoring and eviction included. Errors are ‖out − exact‖/‖exact‖ over 64 tokens after the prompt, and depend on the data: of queries that are independent of one another (standard deviation of the logits 1) no
choice of keys can serve the next, and of queries with a correlation of 0.75 (standard deviation 4) it can.`,
    table(['prompt', 'kept', 'tokens/s', 'than exact', independent, 'error, related queries'], lines),
  ]
}
