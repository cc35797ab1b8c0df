import type { AttentionShape } from '../attention/problem'
import type { BackendName } from '../job'
import type { Planned } from '../plan'
import type { SparsePass } from './attention'
import type { MaskSpec } from './masks'

export interface SparsityFilters {
  readonly contenders: readonly BackendName[]
  readonly threads: readonly number[]
  readonly samples: number
  readonly seqlens: readonly number[]
  readonly passes: readonly SparsePass[]
  readonly nHeads: number
  readonly headDim: number
}

/** Denominators of s: every row of tiles visits a whole number of them, its diagonal among them. */
export const shares = [1, 2, 4, 8, 16, 32, 64]
const fewestBlocks = 64
/** Dense attention under a mask that shows all costs as much time as without one: where that is much, without alone. */
const longestMaskedDense = 16384

/** Without a mask, then with 1 … 1/64 of the tiles, then the butterfly of that length. */
export function planSparsity(filters: SparsityFilters): Planned[] {
  const { contenders, threads: counts, seqlens, passes, nHeads, headDim } = filters
  return counts.flatMap((threads) =>
    contenders.flatMap((contender) =>
      seqlens.flatMap((seqlen) =>
        passes.flatMap((pass) => {
          const shape = { batchSize: 1, seqlenQ: seqlen, seqlenK: seqlen, nHeads, headDim, causal: false }
          return masksOf(seqlen).map(({ name, mask }): Planned => {
            const subject = { benchmark: 'sparsity', name: `${pass} ${nameOf(shape)} ${name}`, contender, threads }
            const parameters = { pass, ...shape, ...(mask ?? { kind: 'dense' }) }
            const job = { kind: 'sparse', algorithm: 'flash', contender, pass, shape, mask, threads, samples: filters.samples } as const
            return { subject: { ...subject, parameters }, job, impossible: null }
          })
        }),
      ),
    ),
  )
}

export function nameOf({ seqlenQ, nHeads, headDim }: AttentionShape): string {
  return `N ${seqlenQ} H ${nHeads} D ${headDim}`
}

/** Tiles of 128, or smaller where a row would have fewer than 64 of them. */
export function blockSizeOf(seqlen: number): number {
  return seqlen / 128 >= fewestBlocks ? 128 : 64
}

function masksOf(seqlen: number): { name: string; mask: MaskSpec | null }[] {
  const blockSize = blockSizeOf(seqlen)
  const n = Math.ceil(seqlen / blockSize)
  const balanced = shares
    .filter((share) => n % share === 0 && (share > 1 || seqlen <= longestMaskedDense))
    .map((share) => ({
      name: share === 1 ? 's 1' : `s 1/${share}`,
      mask: { kind: 'balanced', blocks: n / share, blockSize, seed: 1 } as const,
    }))
  return [{ name: 'dense', mask: null }, ...balanced, { name: 'butterfly', mask: { kind: 'butterfly', blockSize } }]
}
