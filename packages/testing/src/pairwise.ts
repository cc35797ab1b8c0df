import { type Random, randomFor } from './random'

/** Values that each factor takes. */
export type Factors = Readonly<Record<string, readonly unknown[]>>

/** One value for each factor. */
export type Row<F extends Factors> = { readonly [Name in keyof F]: F[Name][number] }

/** Rows tried for each that is taken. */
const CANDIDATES = 30

/**
 * Rows in which every pair of values of two factors occurs, except pairs that `refused` rules out: a covering array of strength 2, drawn greedily
 * (Cohen, Dalal, Fredman, Patton, "The AETG system", 1997) with a fixed seed, so that it is the same everywhere.
 */
export function pairwise<F extends Factors>(name: string, factors: F, refused: (row: Partial<Row<F>>) => boolean = () => false): Row<F>[] {
  const names = Object.keys(factors)
  const sizes = names.map((factor) => (factors[factor] as readonly unknown[]).length)
  const rowOf = (choice: readonly number[]) =>
    Object.fromEntries(
      names.flatMap((factor, f) => (choice[f] === undefined ? [] : [[factor, factors[factor]?.[choice[f] as number]]])),
    ) as Row<F>
  const random = randomFor(name)
  const left = new Set<string>()
  forEachPair(sizes, (pair) => {
    const choice: number[] = []
    for (const [f, value] of pair) choice[f] = value
    if (!refused(rowOf(choice))) left.add(key(pair))
  })
  const rows: Row<F>[] = []
  while (left.size > 0) {
    const first = left.values().next().value as string
    let best: { choice: number[]; covers: string[] } | undefined
    for (let candidate = 0; candidate < CANDIDATES; candidate++) {
      const choice = drawRow(first, sizes, left, random, (partial) => refused(rowOf(partial)))
      if (!choice) continue
      const covers = pairsOf(choice).filter((pair) => left.has(pair))
      if (!best || covers.length > best.covers.length) best = { choice, covers }
    }
    if (!best) throw new Error(`no row can hold the pair ${first} of ${name}`)
    for (const pair of best.covers) left.delete(pair)
    rows.push(rowOf(best.choice))
  }
  return rows
}

type Pair = readonly [readonly [factor: number, value: number], readonly [factor: number, value: number]]

const key = (pair: Pair) => pair.map((end) => end.join(':')).join(' ')

function forEachPair(sizes: readonly number[], visit: (pair: Pair) => void): void {
  for (let f = 0; f < sizes.length; f++) {
    for (let g = f + 1; g < sizes.length; g++) {
      for (let i = 0; i < (sizes[f] as number); i++)
        for (let j = 0; j < (sizes[g] as number); j++)
          visit([
            [f, i],
            [g, j],
          ])
    }
  }
}

function pairsOf(choice: readonly number[]): string[] {
  return choice.flatMap((i, f) =>
    choice.slice(f + 1).map((j, offset) =>
      key([
        [f, i],
        [f + 1 + offset, j],
      ]),
    ),
  )
}

/** A row that holds the pair `first`; the other factors, in random order, take the value that covers most of `left` with those before. */
function drawRow(
  first: string,
  sizes: readonly number[],
  left: ReadonlySet<string>,
  random: Random,
  refused: (choice: readonly number[]) => boolean,
): number[] | undefined {
  const choice: number[] = []
  for (const end of first.split(' ')) {
    const [factor, value] = end.split(':').map(Number) as [number, number]
    choice[factor] = value
  }
  const rest = sizes.map((_, f) => f).filter((f) => choice[f] === undefined)
  for (let i = rest.length - 1; i > 0; i--) {
    const j = random.integer(0, i)
    ;[rest[i], rest[j]] = [rest[j] as number, rest[i] as number]
  }
  for (const f of rest) {
    let best: { value: number; gain: number } | undefined
    const start = random.integer(0, (sizes[f] as number) - 1)
    for (let offset = 0; offset < (sizes[f] as number); offset++) {
      const value = (start + offset) % (sizes[f] as number)
      choice[f] = value
      if (refused(choice)) continue
      const gain = sizes.reduce((sum, _, g) => {
        if (g === f || choice[g] === undefined) return sum
        const pair: Pair =
          g < f
            ? [
                [g, choice[g] as number],
                [f, value],
              ]
            : [
                [f, value],
                [g, choice[g] as number],
              ]
        return sum + (left.has(key(pair)) ? 1 : 0)
      }, 0)
      if (!best || gain > best.gain) best = { value, gain }
    }
    if (!best) return undefined
    choice[f] = best.value
  }
  return choice
}
