#!/usr/bin/env node
import { Command, InvalidArgumentError, Option } from 'commander'
import { benchAttention, type Pass } from './attention/bench'
import { benchGemm } from './gemm'
import { allThreads, type CommonOptions } from './session'
import { benchTraining } from './training'

type Parsed<T> = T & CommonOptions

const program = new Command('bench')
  .description('Measures kernels as a share of the multiply-add peak of this machine, which is measured in the same run.')
  .showHelpAfterError('(--help lists the flags)')

benchmark('attention', 'exact tiled attention, forward and with gradients, and how many times faster than standard attention it is')
  .option('--seqlen <list>', 'sequence lengths', integers, [512, 1024, 2048, 4096, 8192])
  .option('--head-dim <list>', 'head dimensions', integers, [64, 128])
  .addOption(choices('--mask <list>', 'masks', ['causal', 'full']))
  .addOption(choices('--pass <list>', 'passes', ['forward', 'forward+backward']))
  .option('--batch <n>', 'batch size', integer, 1)
  .option('--heads <n>', 'heads', integer, 8)
  .option('--no-standard', 'leave out standard attention')
  .action(
    async (
      flags: Parsed<{
        seqlen: number[]
        headDim: number[]
        mask: ('causal' | 'full')[]
        pass: Pass[]
        batch: number
        heads: number
        standard: boolean
      }>,
    ) => {
      const { seqlen, headDim, mask, pass, batch, heads, ...options } = flags
      await benchAttention({ ...options, seqlens: seqlen, headDims: headDim, masks: mask, passes: pass, batchSize: batch, nHeads: heads })
    },
  )

benchmark('gemm', 'matrix products: 1024³ and those of a transformer block, forward and in gradients')
  .option('--d-model <n>', 'width of the transformer', integer, 384)
  .option('--context <n>', 'tokens', integer, 2048)
  .option('--vocab <n>', 'vocabulary', integer, 8192)
  .option('--filter <text>', 'only products whose name contains it', '')
  .action(async ({ vocab, ...options }: Parsed<{ dModel: number; context: number; vocab: number; filter: string }>) => {
    await benchGemm({ ...options, vocabSize: vocab })
  })

benchmark('train', 'whole training steps: forward, loss, backward, clipping and AdamW')
  .addOption(new Option('--arch <name>', 'architecture').choices(['gpt2', 'llama']).default('gpt2'))
  .option('--context <n>', 'tokens per sequence', integer, 2048)
  .option('--batch <n>', 'sequences per step', integer, 1)
  .option('--d-model <n>', 'width', integer, 384)
  .option('--layers <n>', 'blocks', integer, 6)
  .option('--heads <n>', 'attention heads', integer, 6)
  .option('--vocab <n>', 'vocabulary', integer, 256)
  .addOption(new Option('--attention <name>', 'attention').choices(['flash', 'standard']).default('flash'))
  .action(
    async (
      flags: Parsed<{
        arch: 'gpt2' | 'llama'
        context: number
        batch: number
        dModel: number
        layers: number
        heads: number
        vocab: number
        attention: 'flash' | 'standard'
      }>,
    ) => {
      const { arch, batch, layers, heads, vocab, ...options } = flags
      await benchTraining({ ...options, architecture: arch, batchSize: batch, nLayers: layers, nHeads: heads, vocabSize: vocab })
    },
  )

await program.parseAsync().catch((error: unknown) => {
  console.error(`bench: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
})

/** A subcommand with the flags of all. */
function benchmark(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .addOption(new Option('--runtime <name>', 'runtime of the CPU backend').choices(['auto', 'native', 'wasm']).default('auto'))
    .option('--threads <list>', `thread counts, each measured by itself; "all" is ${allThreads} here`, threadCounts, [
      ...new Set([1, allThreads]),
    ])
    .option('--samples <n>', 'samples per median, at least 5', samples, 7)
    .option('--json <file>', 'where the results go', `runs/bench/${name}.json`)
}

function choices<T extends string>(flags: string, description: string, values: T[]): Option {
  return new Option(flags, description).default(values).argParser((text) =>
    text.split(',').map((value) => {
      if (!values.includes(value as T)) throw new InvalidArgumentError(`expected some of ${values.join(',')}.`)
      return value
    }),
  )
}

function integer(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('expected an integer from 1.')
  return value
}

function integers(text: string): number[] {
  return text.split(',').map(integer)
}

function threadCounts(text: string): number[] {
  return text.split(',').map((count) => (count === 'all' ? allThreads : integer(count)))
}

function samples(text: string): number {
  const value = integer(text)
  if (value < 5) throw new InvalidArgumentError('expected at least 5.')
  return value
}
