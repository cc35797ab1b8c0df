import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import type { Pass } from './attention/problem'
import { integer, integers } from './flags'
import type { BackendName, Contender } from './job'
import { type AttentionFilters, attentionContenders, type Planned, planAttention, planDecoding, planGemm, planTraining } from './plan'
import { addPrecisionCommands } from './precision/commands'
import { writeMeasurements } from './report'
import { allThreads, session } from './session'

interface CommonFlags {
  readonly backend: Contender[] | undefined
  readonly threads: number[] | undefined
  readonly samples: number
  readonly json: string | undefined
  readonly quick: boolean
  readonly busy: boolean
}

interface AttentionFlags extends CommonFlags {
  readonly seqlen: number[] | undefined
  readonly headDim: number[] | undefined
  readonly mask: ('causal' | 'full')[]
  readonly pass: Pass[]
  readonly heads: number
}

const decodedKeys = 65536
const cacheFolder = join(tmpdir(), `tilegrad-bench-${process.pid}`)

export const program = new Command('bench')
  .description('Attention, matrix products and training as shares of what this machine can do, which is measured first.')
  .showHelpAfterError('(--help lists the flags)')

benchmark('all', 'attention, gemm, memory and train', { isDefault: true }).action((flags: CommonFlags) => {
  const attention = {
    ...flags,
    seqlen: undefined,
    headDim: undefined,
    mask: ['causal', 'full'],
    pass: passes(),
    heads: 8,
  } as AttentionFlags
  return run('all', flags, [
    ...attentionRows(attention),
    ...gemmRows(flags, 384, 2048, 8192, ''),
    ...memoryRows(flags),
    ...trainingRows(flags),
  ])
})

attentionFlags(benchmark('attention', 'forward and with gradients, beside standard attention and what else npm offers')).action(
  (flags: AttentionFlags) => run('attention', flags, attentionRows(flags)),
)

benchmark('gemm', 'matrix products: 1024³ and those of a transformer block, forward and in gradients')
  .option('--d-model <n>', 'width of the transformer', integer, 384)
  .option('--context <n>', 'tokens', integer, 2048)
  .option('--vocab <n>', 'vocabulary', integer, 8192)
  .option('--filter <text>', 'only products whose name contains it', '')
  .action((flags: CommonFlags & { dModel: number; context: number; vocab: number; filter: string }) =>
    run('gemm', flags, gemmRows(flags, flags.dModel, flags.context, flags.vocab, flags.filter)),
  )

benchmark('train', 'whole training steps: forward, loss, backward, clipping and AdamW').action((flags: CommonFlags) =>
  run('train', flags, trainingRows(flags)),
)

benchmark('memory', 'time and peak memory of flash and standard attention over N, and flash alone up to N 131,072').action(
  (flags: CommonFlags) => run('memory', flags, memoryRows(flags)),
)

addPrecisionCommands(program)

program
  .command('report')
  .description('docs/measurements.md and its plots from the JSON of a run on an idle machine')
  .option('--json <file>', 'results of a run', 'runs/bench/all.json')
  .option('--out <folder>', 'where measurements.md and plots/ go', 'docs')
  .action(({ json, out }: { json: string; out: string }) => writeMeasurements(json, out))

async function run(name: string, flags: CommonFlags, rows: readonly Planned[]): Promise<void> {
  try {
    await session(rows, { json: flags.json ?? `runs/bench/${name}.json`, keepDisturbed: flags.busy })
  } finally {
    rmSync(cacheFolder, { recursive: true, force: true })
  }
}

function attentionRows(flags: AttentionFlags): Planned[] {
  const filters: AttentionFilters = {
    ...common(flags),
    contenders: flags.backend ?? attentionContenders,
    seqlens: flags.seqlen ?? (flags.quick ? [512, 2048] : [512, 1024, 2048, 4096, 8192]),
    headDims: flags.headDim ?? (flags.quick ? [64] : [64, 128]),
    causal: flags.mask.map((mask) => mask === 'causal'),
    passes: flags.pass,
    batchSize: 1,
    nHeads: flags.heads,
  }
  return [
    ...planAttention('attention', filters),
    ...(flags.seqlen || !flags.pass.includes('forward') ? [] : planDecoding(filters, decodedKeys)),
  ]
}

function gemmRows(flags: CommonFlags, dModel: number, context: number, vocabSize: number, filter: string): Planned[] {
  return planGemm({ ...common(flags), contenders: ours(flags), dModel, context, vocabSize, filter: flags.quick ? 'square' : filter })
}

function trainingRows(flags: CommonFlags): Planned[] {
  const shape = { architecture: 'gpt2', context: 2048, batchSize: 1, dModel: 384, nLayers: 6, nHeads: 6, vocabSize: 256 } as const
  const filters = { ...common(flags), contenders: ours(flags) }
  const native = { ...filters, contenders: filters.contenders.filter((name) => name.startsWith('native')) }
  return [...planTraining(filters, { ...shape, attention: 'flash' }), ...planTraining(native, { ...shape, attention: 'standard' })]
}

/** One head, so that standard attention fits at N 16,384: the ratios do not depend on how many there are. */
function memoryRows(flags: CommonFlags): Planned[] {
  const powers = (from: number, to: number) => Array.from({ length: Math.log2(to / from) + 1 }, (_, i) => from * 2 ** i)
  const filters = { ...common(flags), threads: flags.threads ?? [allThreads], headDims: [64], causal: [false], batchSize: 1, nHeads: 1 }
  const rows = (contenders: Contender[], seqlens: number[]) =>
    planAttention('memory', { ...filters, contenders, seqlens, passes: passes() })
  const both = rows(['native', 'standard-native'], powers(128, flags.quick ? 4096 : 16384))
  return flags.quick ? both : [...both, ...rows(['native'], powers(32768, 131072))]
}

function common({ threads, samples, quick }: CommonFlags) {
  return { threads: threads ?? (quick ? [allThreads] : [...new Set([1, allThreads])]), samples, cacheFolder }
}

function ours({ backend }: CommonFlags): BackendName[] {
  return (backend ?? ['native', 'wasm']).filter((name): name is BackendName => /^(native(:|$)|wasm$)/.test(name))
}

function passes(): Pass[] {
  return ['forward', 'forward+backward']
}

/** A subcommand with the flags of all. */
function benchmark(name: string, description: string, options: { isDefault?: boolean } = {}): Command {
  return program
    .command(name, options)
    .description(description)
    .option('--backend <list>', `contenders: ${attentionContenders.join(', ')}, or an instruction set as in native:avx2`, contenders)
    .option('--threads <list>', `thread counts; "all" is ${allThreads} here`, threadCounts)
    .option('--samples <n>', 'samples per median, at least 5', samples, 7)
    .option('--quick', 'fewer shapes: minutes, not an hour', false)
    .option('--busy', 'keep times although other processes disturbed them, marked so: not for publication', false)
    .option('--json <file>', `where the results go (default: runs/bench/${name}.json)`)
}

function attentionFlags(command: Command): Command {
  return command
    .option('--seqlen <list>', 'sequence lengths, N', integers)
    .option('--head-dim <list>', 'head dimensions, D', integers)
    .addOption(choices('--mask <list>', 'masks', ['causal', 'full']))
    .addOption(choices('--pass <list>', 'passes', ['forward', 'forward+backward']))
    .option('--heads <n>', 'heads', integer, 8)
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

function contenders(text: string): Contender[] {
  return text.split(',').flatMap((name) => (/^native:[a-z0-9]+$/.test(name) ? [name as Contender] : split(name, attentionContenders)))
}

function threadCounts(text: string): number[] {
  return text.split(',').map((count) => (count === 'all' ? allThreads : integer(count)))
}

function samples(text: string): number {
  const value = integer(text)
  if (value < 5) throw new InvalidArgumentError('expected at least 5.')
  return value
}
