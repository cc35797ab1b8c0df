import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { type FigureLine, figureLines, planFigure, planKeyformer } from './approximations/plan'
import type { Pass } from './attention/problem'
import { integer, integers } from './flags'
import {
  type AttentionGridFlags,
  attentionGrid,
  defaultAttention,
  defaultGemm,
  type GemmGridFlags,
  type GridFlags,
  gemmGrid,
  type MemoryGridFlags,
  memoryGrid,
  trainingGrid,
  webgpuGrid,
} from './grid'
import type { BackendName, Contender, ProductContender } from './job'
import { allThreads } from './machine'
import { attentionContenders, type Planned, productContenders } from './plan'
import { addPrecisionCommands } from './precision/commands'
import { writeMeasurements } from './report/measurements'
import { session } from './session'
import type { SparsePass } from './sparsity/attention'
import { planSparsity } from './sparsity/plan'
import { findAdapter, webgpuContenders } from './webgpu/adapter'
import { defaultWebGPU } from './webgpu/plan'

type Flags<Grid extends GridFlags = GridFlags> = Omit<Grid, 'cacheFolder'> & {
  readonly json: string | undefined
  readonly busy: boolean
}

const allContenders = [...new Set([...attentionContenders, ...productContenders, ...webgpuContenders])]
const cacheFolder = join(tmpdir(), `tilegrad-bench-${process.pid}`)

export const program = new Command('bench')
  .description('Attention, matrix products and training as shares of what this machine can do, which is measured first.')
  .showHelpAfterError('(--help lists the flags)')

benchmark('all', 'attention, gemm, memory, train and, where there is an adapter, webgpu', { isDefault: true }).action(
  async (flags: Flags) => {
    const grid = { ...flags, cacheFolder }
    return run('all', flags, [
      ...attentionGrid({ ...grid, ...defaultAttention }),
      ...gemmGrid({ ...grid, ...defaultGemm }),
      ...memoryGrid({ ...grid, seqlen: undefined }),
      ...trainingGrid(grid, true),
      ...webgpuGrid({ ...grid, ...defaultWebGPU, mask: ['full'], pass: defaultAttention.pass, quick: true }, await findAdapter()),
    ])
  },
)

benchmark('attention', 'forward and with gradients, beside standard attention and what else npm offers; decoding; the cost of a call')
  .option('--seqlen <list>', 'sequence lengths, N: every contender runs them all, and nothing else runs', integers)
  .option('--head-dim <list>', 'head dimensions, D', integers)
  .addOption(choices('--mask <list>', 'masks', [...defaultAttention.mask]))
  .addOption(choices<Pass>('--pass <list>', 'passes', [...defaultAttention.pass]))
  .option('--heads <n>', 'heads', integer, defaultAttention.heads)
  .action((flags: Flags<AttentionGridFlags>) => run('attention', flags, attentionGrid({ ...flags, cacheFolder })))

benchmark('webgpu', 'attention on the GPU beside standard attention and what else npm offers there; short sequences; the cost of a call')
  .option('--seqlen <list>', 'sequence lengths, N: every contender runs them all, and nothing else runs', integers)
  .option('--head-dim <list>', 'head dimensions, D', integers)
  .addOption(choices('--mask <list>', 'masks', [...defaultWebGPU.mask]))
  .addOption(choices<Pass>('--pass <list>', 'passes', [...defaultWebGPU.pass]))
  .option('--heads <n>', 'heads', integer, defaultWebGPU.heads)
  .action(async (flags: Flags<AttentionGridFlags>) => run('webgpu', flags, webgpuGrid({ ...flags, cacheFolder }, await findAdapter())))

benchmark('gemm', 'matrix products: 1024³ and those of a transformer block, forward and in gradients')
  .option('--d-model <n>', 'width of the transformer', integer, defaultGemm.dModel)
  .option('--context <n>', 'tokens', integer, defaultGemm.context)
  .option('--vocab <n>', 'vocabulary', integer, defaultGemm.vocab)
  .option('--filter <text>', 'only products whose name contains it', defaultGemm.filter)
  .action((flags: Flags<GemmGridFlags>) => run('gemm', flags, gemmGrid({ ...flags, cacheFolder })))

benchmark('train', 'whole training steps: forward, loss, backward, clipping and AdamW')
  .option('--profile', 'where the time of a step goes, kernel by kernel', false)
  .action((flags: Flags & { profile: boolean }) => run('train', flags, trainingGrid({ ...flags, cacheFolder }, flags.profile)))

benchmark('memory', 'time and peak memory of flash and standard attention over N, and flash alone up to N 131,072')
  .option('--seqlen <list>', 'sequence lengths, N: both up to 16,384, flash alone from there to 131,072', integers)
  .action((flags: Flags<MemoryGridFlags>) => run('memory', flags, memoryGrid({ ...flags, cacheFolder })))

interface SparsityFlags extends Flags {
  readonly seqlen: readonly number[] | undefined
  readonly heads: number
  readonly headDim: number
}

const sparsityPasses: SparsePass[] = ['forward', 'backward']

sparsityBenchmark('sparsity', 'time of block-sparse attention over the share s of tiles that it visits, forward and backward')
  .addOption(choices<SparsePass>('--pass <list>', 'passes', sparsityPasses))
  .action((flags: SparsityFlags & { pass: SparsePass[] }) => {
    const seqlens = flags.seqlen ?? (flags.quick ? [4096, 16384] : [4096, 16384, 65536])
    const contenders = (flags.backend ?? ['native']) as readonly BackendName[]
    return run('sparsity', flags, planSparsity({ ...sparsityFilters(flags), seqlens, contenders, passes: flags.pass, nHeads: flags.heads }))
  })

type Line = FigureLine | 'Keyformer'

sparsityBenchmark(
  'figure',
  'time and memory over N of standard, approximate, flash and block-sparse attention, forward and backward; decoding with Keyformer',
)
  .addOption(choices<Line>('--line <list>', 'algorithms', [...figureLines, 'Keyformer']))
  .action((flags: SparsityFlags & { line: Line[] }) => {
    const seqlens = flags.seqlen ?? Array.from({ length: flags.quick ? 6 : 10 }, (_, i) => 128 * 2 ** i)
    const filters = { ...sparsityFilters(flags), contender: (flags.backend?.[0] ?? 'native') as BackendName }
    const lines = figureLines.filter((line) => flags.line.includes(line))
    const prompts = flags.seqlen ?? (flags.quick ? [4096] : [4096, 16384])
    return run('figure', flags, [
      ...planFigure({ ...filters, seqlens, lines, nHeads: flags.heads }),
      ...(flags.line.includes('Keyformer') ? planKeyformer({ ...filters, seqlens: prompts }) : []),
    ])
  })

addPrecisionCommands(program)

program
  .command('report')
  .description('docs/measurements.md and its plots from the JSON of one or more runs on idle machines')
  .option('--json <list>', 'results of runs, the last of which counts where they measured the same', (text: string) => text.split(','), [
    'runs/bench/all.json',
  ])
  .option('--out <folder>', 'where measurements.md and plots/ go', 'docs')
  .action(({ json, out }: { json: string[]; out: string }) => writeMeasurements(json, out))

async function run(name: string, flags: Flags, rows: readonly Planned[]): Promise<void> {
  try {
    await session(rows, { json: flags.json ?? `runs/bench/${name}.json`, keepDisturbed: flags.busy })
  } finally {
    rmSync(cacheFolder, { recursive: true, force: true })
  }
}

/** A subcommand with the flags of all. */
function benchmark(name: string, description: string, options: { isDefault?: boolean } = {}): Command {
  return program
    .command(name, options)
    .description(description)
    .option('--backend <list>', `contenders: ${allContenders.join(', ')}, or an instruction set as in native:avx2`, contenders)
    .option('--threads <list>', `thread counts; "all" is ${allThreads} here`, threadCounts)
    .option('--samples <n>', 'samples per median, at least 5', samples, 5)
    .option('--quick', 'fewer shapes: minutes, not half an hour', false)
    .option('--busy', 'keep times although other processes disturbed them, marked so: not for publication', false)
    .option('--json <file>', `where the results go (default: runs/bench/${name}.json)`)
}

/** One whose shapes have no causal mask and few heads: what they cost grows with N alone. */
function sparsityBenchmark(name: string, description: string): Command {
  return benchmark(name, description)
    .option('--seqlen <list>', 'sequence lengths, N', integers)
    .option('--heads <n>', 'heads', integer, 1)
    .option('--head-dim <n>', 'head dimension, D', integer, 64)
}

function sparsityFilters({ threads, samples, headDim }: SparsityFlags) {
  return { threads: threads ?? [allThreads], samples, headDim }
}

function choices<T extends string>(flags: string, description: string, values: T[]): Option {
  return new Option(`${flags}`, description).default(values).argParser((text) => split(text, values))
}

function split<T extends string>(text: string, values: readonly T[]): T[] {
  return text.split(',').map((value) => {
    if (!values.includes(value as T)) throw new InvalidArgumentError(`expected some of ${values.join(',')}.`)
    return value as T
  })
}

function contenders(text: string): (Contender | ProductContender)[] {
  return text.split(',').flatMap((name) => (/^native:[a-z0-9]+$/.test(name) ? [name as Contender] : split(name, allContenders)))
}

function threadCounts(text: string): number[] {
  return text.split(',').map((count) => (count === 'all' ? allThreads : integer(count)))
}

function samples(text: string): number {
  const value = integer(text)
  if (value < 5) throw new InvalidArgumentError('expected at least 5.')
  return value
}
