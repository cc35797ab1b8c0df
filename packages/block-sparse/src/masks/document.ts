import { ArgumentError } from '@tilegrad/tensor'
import { type MaskMod, withTileBound } from '../mask-mod'
import { perBatch } from './prefix-lm'

/** Integers of one row of tokens, or such rows for each batch. */
export type PerBatch = ArrayLike<number> | readonly ArrayLike<number>[]

/**
 * Which document each token of a packed row belongs to: `documentIds` [S] integers, negative for padding; or `cuSeqlens` [documents + 1], ascending
 * from 0: document d owns positions [cuSeqlens[d], cuSeqlens[d+1]), and what follows the last is padding. Each as one row for all batches or one row per batch (then
 * create the mask with that `batchSize`).
 */
export type Documents = { readonly documentIds: PerBatch } | { readonly cuSeqlens: PerBatch }

/**
 * Query and key belong to the same document: several sequences packed into one row never see each other (Krell et al., arXiv 2107.02027, §3.2). Padding sees
 * nothing and is not seen.
 *
 * @param queries Documents of the queries.
 * @param keys Documents of the keys, if they are others.
 * @throws ArgumentError if ids are no integers or cuSeqlens do not ascend from 0; when the mask is created, if a row is shorter than the mask.
 */
export function document(queries: Documents, keys: Documents = queries): MaskMod {
  const q = new DocumentRows(queries)
  const kv = keys === queries ? q : new DocumentRows(keys)
  return withTileBound(
    (b, _h, qIdx, kvIdx) => {
      const id = q.id(b, qIdx)
      return id >= 0 && id === kv.id(b, kvIdx)
    },
    ({ b, qBegin, qEnd, kvBegin, kvEnd }) => {
      const rows = q.summary(b, qBegin, qEnd)
      const columns = kv.summary(b, kvBegin, kvEnd)
      // A range of padding alone has idMin ∞ and idMax −∞.
      if (rows.idMax < columns.idMin || columns.idMax < rows.idMin) return 'empty'
      const alone = !rows.padded && !columns.padded && rows.idMin === rows.idMax && columns.idMin === columns.idMax
      return alone ? 'full' : 'partial'
    },
    ({ b, qBegin, qEnd, kvBegin, kvEnd }) => {
      const rows = q.summary(b, qBegin, qEnd).runs
      const columns = kv.summary(b, kvBegin, kvEnd).runs
      return `${runPattern(rows, columns)};${runPattern(columns, rows)}`
    },
  )
}

/** The ids of a range of tokens. */
interface Summary {
  /** Of documents, padding aside. */
  readonly idMin: number
  readonly idMax: number
  readonly padded: boolean
  readonly runs: readonly Run[]
}

/** Neighbours of one document. */
interface Run {
  readonly id: number
  length: number
}

/** Lengths and documents of runs: the document as its first place among the other side's runs, −1 if it has none there, as padding never has. */
function runPattern(runs: readonly Run[], others: readonly Run[]): string {
  return runs.map(({ id, length }) => `${length}:${id < 0 ? -1 : others.findIndex((other) => other.id === id)}`).join()
}

/** Document ids of tokens, and summaries of ranges of them: each range is walked once, however many tiles ask for it. */
class DocumentRows {
  readonly #rows: readonly ArrayLike<number>[]
  readonly #idOf: (row: ArrayLike<number>, position: number) => number
  readonly #summaries = new Map<string, Summary>()
  readonly #shared: boolean
  /** Positions a row holds; cuSeqlens hold all, as padding follows the last document. */
  readonly #lengthOf: (row: ArrayLike<number>) => number

  constructor(documents: Documents) {
    const byId = 'documentIds' in documents
    const given = byId ? documents.documentIds : documents.cuSeqlens
    this.#shared = given.length === 0 || typeof given[0] === 'number'
    this.#rows = this.#shared ? [given as ArrayLike<number>] : (given as readonly ArrayLike<number>[])
    for (const row of this.#rows) (byId ? checkIds : checkCuSeqlens)(row)
    this.#idOf = byId ? (row, position) => row[position] as number : documentAt
    this.#lengthOf = byId ? (row) => row.length : () => Number.POSITIVE_INFINITY
  }

  id(b: number, position: number): number {
    return this.#idOf(this.#row(b), position)
  }

  summary(b: number, begin: number, end: number): Summary {
    const key = `${this.#shared ? 0 : b},${begin},${end}`
    let summary = this.#summaries.get(key)
    if (!summary) {
      summary = this.#summarize(this.#row(b), begin, end)
      this.#summaries.set(key, summary)
    }
    return summary
  }

  #row(b: number): ArrayLike<number> {
    return perBatch('document', 'documents', this.#rows, this.#shared ? 0 : b)
  }

  #summarize(row: ArrayLike<number>, begin: number, end: number): Summary {
    if (end > this.#lengthOf(row)) throw new ArgumentError('document', `documentIds must name ${end} tokens or more`, String(row.length))
    let idMin = Number.POSITIVE_INFINITY
    let idMax = Number.NEGATIVE_INFINITY
    let padded = false
    const runs: Run[] = []
    for (let position = begin; position < end; position++) {
      const id = this.#idOf(row, position)
      const run = runs.at(-1)
      if (run?.id === id) run.length++
      else runs.push({ id, length: 1 })
      if (id < 0) padded = true
      else {
        idMin = Math.min(idMin, id)
        idMax = Math.max(idMax, id)
      }
    }
    return { idMin, idMax, padded, runs }
  }
}

function checkIds(ids: ArrayLike<number>): void {
  for (let i = 0; i < ids.length; i++) {
    if (!Number.isSafeInteger(ids[i])) throw new ArgumentError('document', 'documentIds must hold integers', `${ids[i]} at ${i}`)
  }
}

function checkCuSeqlens(cuSeqlens: ArrayLike<number>): void {
  for (let i = 0; i < cuSeqlens.length || i === 0; i++) {
    const previous = i === 0 ? 0 : (cuSeqlens[i - 1] as number)
    const value = cuSeqlens[i] as number
    if (!Number.isSafeInteger(value) || value < previous || (i === 0 && value !== 0)) {
      throw new ArgumentError('document', 'cuSeqlens must be integers that ascend from 0', `${value} at ${i}`)
    }
  }
}

/** The document that owns a position: the last that begins at or before it; −1 after the last document. Binary search. */
function documentAt(cuSeqlens: ArrayLike<number>, position: number): number {
  let low = 0
  let high = cuSeqlens.length - 1
  if (position >= (cuSeqlens[high] as number)) return -1
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if ((cuSeqlens[middle] as number) <= position) low = middle
    else high = middle
  }
  return low
}
